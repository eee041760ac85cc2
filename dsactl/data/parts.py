"""Parts of the training split: one that is held out to choose by, and one that is enough to time a step with."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.random import generator
from dsactl.errors import DataError

HELD_OUT = 0.1
"""Of each class's training images, rounded, one at least."""


def hold_out(dataset: Dataset) -> Dataset:
    """Set a share of every class's training images apart, to choose by what networks make of them.

    Args:
        dataset: its test split is left out of what is returned, so that nothing is chosen by it.

    Returns:
        The data set whose `train` is the rest and whose `test` is what was held out.

    Raises:
        DataError: a class would be left without an image.
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


def first_of_each(dataset: Dataset, count: int) -> Dataset:
    """The first `count` training images of every class, or as many as it has, as both splits."""
    train = dataset.train
    places = [
        torch.arange(start, start + min(count, has)) for start, has in zip(train.starts, train.counts, strict=True)
    ]
    few = _at(train, places)
    return replace(dataset, train=few, test=few)


def _at(images: ImageSet, places: Sequence[Tensor]) -> ImageSet:
    """Images at places that are grouped by class."""
    chosen_N = torch.cat(list(places)).to(images.images_NCHW.device)
    return ImageSet(images.images_NCHW[chosen_N], images.labels_N[chosen_N], tuple(map(len, places)))
