"""Sets of real images, chosen class by class."""

from collections.abc import Callable

import torch
from torch import Tensor

from dsactl.methods.work import CondensedSet, MethodContext


def coreset(work: MethodContext, choose: Callable[[int], Tensor]) -> CondensedSet:
    """Make a set of the chosen training images, sorted by class, and within a class in the order of choice.

    Args:
        work: the context of the run.
        choose: returns for a class the indices of `ipc` of its images, within the class, on the CPU.
    """
    real = work.dataset
    indices_N = torch.cat([choose(label) + start for label, start in enumerate(real.train.starts)])
    return CondensedSet(real.at(indices_N.to(work.device)), real.labels(work.recipe.ipc))
