"""The upper bound: networks that are trained on the whole training split, by the protocol of a set.

What was measured is kept under the checksum of the training images, where a set's is kept under its digest.
"""

import torch

from dsactl.augmentation.strategy import default_strategy
from dsactl.data.dataset import Dataset
from dsactl.recipes.methods import WHOLE
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.synthetic_set import SyntheticSet

STEPS = 10_000
"""Of SGD, about: ours, since the paper has no number."""


def whole_set(dataset: Dataset) -> SyntheticSet:
    """All training images, as if a method had chosen them."""
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
    images_NCHW = torch.cat([dataset.normalise(part) for part in torch.split(train.images_NCHW, 10_000)])
    labels_N = train.labels_N.clone()
    where = f"the whole of {dataset.name}"
    return SyntheticSet(
        images_NCHW, labels_N, dataset.class_names, dataset.mean, dataset.std, recipe, recipe.checksum, where
    )


def usual_epochs(images: int, batch: int) -> int:
    """Passes over a training split that make about `STEPS` steps."""
    return max(1, round(STEPS / -(-images // batch)))
