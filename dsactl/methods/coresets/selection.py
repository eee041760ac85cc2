"""A set of real images, chosen class by class."""

from collections.abc import Callable

import torch
from torch import Tensor

from dsactl.methods.work import Made, Work


def coreset(work: Work, choose: Callable[[int], Tensor]) -> Made:
    """The training images that were chosen, sorted by class, within a class as they were chosen.

    Args:
        work: what is to be made.
        choose: gives for a class the places of `ipc` images among those of the class, on the CPU.
    """
    real = work.dataset
    places_N = torch.cat([choose(label) + start for label, start in enumerate(real.train.starts)])
    return Made(real.at(places_N.to(work.device)), torch.arange(real.classes).repeat_interleave(work.recipe.ipc))
