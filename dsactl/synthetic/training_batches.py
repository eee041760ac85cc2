"""The batches of a set that networks are trained on, by a protocol.

Shapes: N images of the set, B of a batch, C, H, W, K classes.
"""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dsactl.augmentation.composed import ComposedAugmenter
from dsactl.augmentation.cutmix import CutMix
from dsactl.augmentation.dc import augment_for_dc
from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import Strategy, parse_strategy
from dsactl.data.views import base_name
from dsactl.recipes.recipe import Recipe
from dsactl.training.protocols import DC, NamedProtocol
from dsactl.training.sgd import Augment


def augmentation_by(named: NamedProtocol, recipe: Recipe, size: tuple[int, int]) -> tuple[str, Augment | None]:
    """Return the name of the augmentation of a set's batches by a protocol, and its function; None without one.

    Args:
        named: the protocol.
        recipe: of the set.
        size: H and W of its images.
    """
    if named.strategy == DC.name:
        return (DC.name, augment_for_dc) if base_name(recipe.dataset) == "mnist" else ("none", None)
    kinds = recipe.strategy if named.strategy is None else parse_strategy(named.strategy)
    strategy = Strategy(kind for kind in kinds if kind not in named.without)
    if not strategy:
        return "none", None
    if named.composed:
        return "idc " + " ".join(strategy), ComposedAugmenter(strategy, size)
    return "dsa " + " ".join(strategy), Augmenter(strategy, size)


def batches_by(
    named: NamedProtocol,
    augment: Augment | None,
    images_NCHW: Tensor,
    targets: Tensor,
    classes: int,
    epochs: int,
    source: Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled, augmented batches of some epochs, with labels B, or B×K if they are soft or mixed by CutMix.

    Args:
        named: the protocol.
        augment: of `augmentation_by`.
        images_NCHW: of the set.
        targets: N labels, or N×K soft ones.
        classes: K.
        epochs: passes over the set.
        source: a CPU generator of shuffles and augmentation.
    """
    if named.cutmix and not targets.is_floating_point():
        targets = F.one_hot(targets, classes).to(images_NCHW)
    for _ in range(epochs):
        order_N = torch.randperm(len(images_NCHW), generator=source).to(images_NCHW.device)
        for chosen_B in torch.split(order_N, named.batch):
            images_BCHW, labels = images_NCHW[chosen_B], targets[chosen_B]
            if augment is not None:
                images_BCHW = augment(images_BCHW, source)
            if named.cutmix:
                height, width = images_BCHW.shape[2:]
                mix = CutMix.draw(named.cutmix, len(chosen_B), (height, width), source)
                images_BCHW, labels = mix.images(images_BCHW), mix.targets(labels)
            yield images_BCHW, labels
