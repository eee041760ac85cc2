"""Parts of the training split: a validation split, all of it alone, and a few images for timing a step."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.random import generator
from dsactl.errors import DataError

HELD_OUT = 0.1
"""Share of each class's training images that is held out, rounded, at least one image."""


def hold_out(dataset: Dataset) -> Dataset:
    """Split a validation set off every class's training images, for choosing settings.

    Args:
        dataset: its test split is not part of the result, so that nothing is chosen by it.

    Returns:
        The dataset whose `train` is the rest and whose `test` is the held-out images.

    Raises:
        DataError: a class would be left without a training image.
    """
    train = dataset.train
    kept, held = [], []
    for label, (start, count) in enumerate(zip(train.starts, train.counts, strict=True)):
        away = max(1, round(HELD_OUT * count))
        if away >= count:
            raise DataError(
                f"Class {dataset.class_names[label]!r} of {dataset.name} has too few images to hold any out."
            )
        order = torch.randperm(count, generator=generator(0, "held out", label)) + start
        held.append(order[:away].sort().values)
        kept.append(order[away:].sort().values)
    return replace(dataset, train=_at(train, kept), test=_at(train, held))


def training_split(dataset: Dataset, device: torch.device) -> Dataset:
    """Return a dataset of the training images alone, as both splits, on a device; its test images are not read."""
    train = dataset.train.to(device)
    return replace(dataset, train=train, test=train)


def first_of_each(dataset: Dataset, count: int) -> Dataset:
    """Return a dataset of the first `count` training images of every class (all, if fewer), as both splits."""
    train = dataset.train
    indices = [
        torch.arange(start, start + min(count, has)) for start, has in zip(train.starts, train.counts, strict=True)
    ]
    few = _at(train, indices)
    return replace(dataset, train=few, test=few)


def _at(images: ImageSet, indices: Sequence[Tensor]) -> ImageSet:
    """Select images by indices that are grouped by class."""
    chosen_N = torch.cat(list(indices)).to(images.images_NCHW.device)
    return ImageSet(images.images_NCHW[chosen_N], images.labels_N[chosen_N], tuple(map(len, indices)))
