"""Objectives that are sums over the classes, computed for some classes at a time and shared by several processes.

Shapes: K classes, k of them at once, I stored images per class, J images after decoding, C, H, W.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from dsactl.data.dataset import sample_without_replacement
from dsactl.engine.processes import Processes

Objective = Callable[[Tensor, range], tuple[Tensor, Tensor]]
"""Takes the stored images of some classes, k×I×C×H×W, and their labels; returns value_k, and the sum's gradient."""


def sum_over_classes(
    objective: Objective, images_KICHW: Tensor, chunk: int, processes: Processes
) -> tuple[Tensor, Tensor]:
    """Return value_K, and the gradient of their sum with respect to the stored images, K×I×C×H×W.

    Args:
        objective: see `Objective`.
        images_KICHW: the stored images.
        chunk: number of classes at once.
        processes: that share the classes.

    Raises:
        ProcessError: another process died.
    """
    classes = len(images_KICHW)
    own, rows = processes.share(classes), []
    for first in range(0, len(own), max(1, chunk)):
        labels = own[first : first + max(1, chunk)]
        value_k, gradient_kICHW = objective(images_KICHW[labels.start : labels.stop], labels)
        rows.append(torch.cat([value_k[:, None], gradient_kICHW.flatten(1)], dim=1))
    own_kX = torch.cat(rows) if rows else images_KICHW.new_empty(0, 1 + images_KICHW[0].numel())
    all_KX = processes.gather(own_kX, classes)
    return all_KX[:, 0], all_KX[:, 1:].view_as(images_KICHW)


def some_of(images_JCHW: Tensor, most: int, generator: Generator) -> Tensor:
    """Return images of a class, without replacement; all of them, in their order, if there are no more than `most`."""
    if most >= len(images_JCHW):
        return images_JCHW
    chosen = sample_without_replacement(len(images_JCHW), most, generator)
    return images_JCHW[chosen.to(images_JCHW.device)]
