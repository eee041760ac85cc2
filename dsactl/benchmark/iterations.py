"""Timing of the iterations of a method that keeps its state after each."""

import contextlib
import time
from collections.abc import Mapping

from torch import Tensor

from dsactl.benchmark.timing import WARM_UP, FirstClasses, wants_more
from dsactl.data.dataset import Dataset
from dsactl.engine.clock import wait
from dsactl.methods.work import MethodContext
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe
from dsactl.runs.experts import untrained_experts


def iterations(dataset: Dataset, recipe: Recipe, classes: int) -> tuple[str, list[float]]:
    """Time some iterations of a method; nothing is stored.

    Args:
        dataset: on the device.
        recipe: of a method that shares its classes between processes.
        classes: number of classes, the first ones: one process's share of the work.

    Returns:
        The mode of the computation, and the seconds of each iteration.
    """
    run = _Timed(dataset, recipe, classes)
    with contextlib.suppress(_EnoughError):
        find(recipe.method).load()(run)
    return str(run.mode), run.seconds


class _EnoughError(Exception):
    """Enough iterations were timed."""


class _Timed(MethodContext):
    """A run that measures its iterations, and stops after some."""

    def __init__(self, dataset: Dataset, recipe: Recipe, classes: int) -> None:
        super().__init__(dataset, recipe, FirstClasses(classes), untrained_experts(recipe, dataset))
        self.seconds: list[float] = []
        self._begun = self._last = time.perf_counter()

    def keep(self, done: int, total: int, tensors: Mapping[str, Tensor], **_: object) -> None:
        del total, tensors  # only the time is of interest
        wait(self.device)
        now = time.perf_counter()
        if done > WARM_UP:
            self.seconds.append(now - self._last)
            if not wants_more(len(self.seconds), now - self._begun):
                raise _EnoughError
        else:
            self._begun = now
        self._last = now
