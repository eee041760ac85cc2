"""The upper bound: networks trained on the whole training split, by a set's evaluation protocol.

Results are stored under the checksum of the training images, as a set's are under its digest.
"""

from dataclasses import replace

import torch

from dsactl.augmentation.strategy import default_strategy
from dsactl.data.dataset import Dataset
from dsactl.recipes.methods import WHOLE
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.synthetic_set import SyntheticSet

STEPS = 10_000
"""Approximate number of SGD steps: ours, since the paper gives none."""


def whole_set(dataset: Dataset) -> SyntheticSet:
    """Return all training images as a set."""
    images = torch.split(dataset.train.images_NCHW, 10_000)
    return replace(whole_without_images(dataset), images=torch.cat([dataset.normalise(part) for part in images]))


def whole_without_images(dataset: Dataset) -> SyntheticSet:
    """Return the set of all training images with zeros in their place, which take no memory, to look up its results."""
    train = dataset.train
    recipe = Recipe(
        dataset.name,
        train.checksum(),
        WHOLE,
        max(train.counts),
        0,
        (dataset.channels, *dataset.size),
        default_strategy(mirrored=dataset.mirrored),
    )
    images_NCHW, labels_N = torch.zeros(()).expand(train.images_NCHW.shape), train.labels_N.clone()
    where = f"the whole of {dataset.name}"
    return SyntheticSet(
        images_NCHW, labels_N, dataset.class_names, dataset.mean, dataset.std, recipe, recipe.checksum, where
    )


def usual_epochs(images: int, batch: int) -> int:
    """Return the number of passes over a training split that makes about `STEPS` steps."""
    return max(1, round(STEPS / -(-images // batch)))
