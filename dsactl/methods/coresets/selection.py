"""Sets of real images, chosen class by class."""

from collections.abc import Callable

import torch
from torch import Tensor

from dsactl.methods.short_classes import fill
from dsactl.methods.work import CondensedSet, MethodContext


def coreset(work: MethodContext, choose: Callable[[int, int], Tensor]) -> CondensedSet:
    """Make a set of the chosen training images, sorted by class, and within a class in the order of choice.

    Args:
        work: the context of the run.
        choose: returns for a class and a number the indices of so many of its images, within the class, on the CPU. The
            number is `Recipe.decoded`, or that of all images of a class that has fewer (see `fill`).
    """
    real, recipe, stored = work.dataset, work.recipe, work.parametrisation
    chosen = [fill(choose(label, min(recipe.decoded, count)), recipe) for label, count in enumerate(real.train.counts)]
    indices_N = torch.cat([indices + start for indices, start in zip(chosen, real.train.starts, strict=True)])
    counts = torch.tensor([len(indices) // stored.count for indices in chosen])
    labels_N = torch.arange(real.classes).repeat_interleave(counts)
    return CondensedSet(stored.encode(real.at(indices_N.to(work.device))), labels_N)
