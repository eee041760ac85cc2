"""The cost of a run: floating-point operations by counting, seconds and memory by trying a few steps."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dsactl.data.dataset import Dataset
from dsactl.data.parts import first_of_each
from dsactl.engine.clock import Clock
from dsactl.engine.memory import peak_memory, reset_peak_memory
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.methods.work import MethodContext
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Recipe
from dsactl.runs.experts import untrained_experts


@dataclass(frozen=True)
class Estimate:
    """An estimate from a few trial steps.

    Attributes:
        seconds: of the whole run, uncompiled.
        memory: peak of the process (CPU) or of the device (CUDA) during the trial, bytes.
    """

    seconds: float
    memory: int


def making_operations(recipe: Recipe, dataset: Dataset) -> float:
    """Count the operations of making a set; roughly, unless the method counts them itself."""
    method = find(recipe.method)
    if recipe.network is None:
        return 0.0
    if method.cost:
        return float(method.load_cost().counts(recipe, dataset)["operations"])
    forward = GRADIENT * forward_operations(recipe.network, dataset)
    if method.passes:
        return forward * len(dataset.train) * int(recipe.settings.values().get("epochs", 1))
    iterations = int(recipe.settings.values().get("iterations", 1))
    return forward * iterations * recipe.ipc * dataset.classes


def try_a_step(recipe: Recipe, dataset: Dataset) -> Estimate | None:
    """Time a few steps and scale up; nothing is stored.

    Args:
        recipe: of any method.
        dataset: on the device to compute on.

    Returns:
        The estimate; None for a method of another package, whose steps are unknown.
    """
    method = find(recipe.method)
    if recipe.method not in BUILT_IN:
        return None
    device = dataset.train.images_NCHW.device
    reset_peak_memory(device)
    own = getattr(method.load_cost(), "seconds", None) if method.cost else None
    return Estimate((own or _from_first_steps)(recipe, dataset), peak_memory(device))


class _EnoughError(Exception):
    """A trial has timed enough steps."""


class _Trial(MethodContext):
    """A run that stops after a few steps."""

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        super().__init__(dataset, recipe, experts=untrained_experts(recipe, dataset))
        self.total, self.clock = 0, Clock(self.device)
        self.clock.mark()

    def keep(self, done: int, total: int, tensors: Mapping[str, Tensor], **_: object) -> None:
        del done, tensors  # only the time is of interest
        self.total = total
        self.clock.mark()
        if len(self.clock.marks) > _STEPS + 1:
            raise _EnoughError


def _from_first_steps(recipe: Recipe, dataset: Dataset) -> float:
    """Estimate the seconds of a run from its first steps; on a part of the images if a step is a pass over all."""
    share = 1.0
    if find(recipe.method).passes:
        few = first_of_each(dataset, max(recipe.ipc, -(-_TRIAL_IMAGES // dataset.classes)))
        share, dataset = len(few.train) / len(dataset.train), few
    trial = _Trial(dataset, recipe)
    with contextlib.suppress(_EnoughError):
        find(recipe.method).load()(trial)
    if not trial.total:
        return time.perf_counter() - trial.clock.marks[0]
    first = 1 if len(trial.clock.marks) > 2 else 0  # the first step warms up
    return trial.total * trial.clock.fastest(first) / share


_STEPS = 2
_TRIAL_IMAGES = 1000
