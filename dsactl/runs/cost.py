"""What a run costs: floating-point operations by counting, seconds and memory by trying a step.

An operation is one addition or multiplication. A gradient costs three forward passes (one forward, two backward); the
gradient of the matching distance with respect to images costs seven, since each convolution's backward pass is
differentiated again with respect to its input and its incoming gradient, but not to the weights.
"""

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from dsactl.data.dataset import Dataset
from dsactl.data.parts import first_of_each
from dsactl.engine.memory import peak_memory, reset_peak_memory
from dsactl.methods.gradient_matching.condense import condense
from dsactl.methods.gradient_matching.inner_step import choose_mode
from dsactl.methods.work import Work as MethodWork
from dsactl.networks.build import output_shapes, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import ALGORITHM_1, BUILT_IN, find
from dsactl.recipes.recipe import Recipe

GRADIENT = 3
MATCHING_GRADIENT = 7


@dataclass(frozen=True)
class Work:
    """The arithmetic of a run of Algorithm 1.

    Attributes:
        inner_steps: of the whole run.
        network_steps: SGD steps of networks in the whole run.
        operations: floating-point operations of the whole run.
        matching_operations: those of them that the matching distance takes.
    """

    inner_steps: int
    network_steps: int
    operations: float
    matching_operations: float


@dataclass(frozen=True)
class Estimate:
    """What a trial step tells.

    Attributes:
        seconds: for the whole run; of Algorithm 1 uncompiled.
        memory: peak of the process (CPU) or of the device (CUDA) during the trial, bytes.
    """

    seconds: float
    memory: int


class Clock:
    """Looks at the time between the steps of a trial, when the device has done what it was given.

    Attributes:
        marks: seconds, of some beginning.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.marks = device, list[float]()

    def mark(self) -> None:
        """A step is done, or the first begins."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.marks.append(time.perf_counter())

    def fastest(self, first: int = 0) -> float:
        """Seconds of the fastest step, from the `first` mark on."""
        return min(later - earlier for earlier, later in pairwise(self.marks[first:]))


def forward_operations(spec: NetworkSpec, dataset: Dataset) -> float:
    """Count the operations of one image's forward pass: those of convolutions and linear layers, no others."""
    network = structure(spec, dataset.channels, dataset.size, dataset.classes)
    shapes = output_shapes(network, (dataset.channels, *dataset.size))
    # Every output of such a layer is a sum of as many products as its unit has weights.
    return float(
        sum(
            2 * math.prod(output) * layer.weight[0].numel()
            for layer, output in shapes
            if isinstance(layer, nn.Conv2d | nn.Linear)
        )
    )


def count_work(recipe: Recipe, dataset: Dataset) -> Work:
    """Count the work of a recipe; zero for a method without Algorithm 1."""
    if recipe.method not in ALGORITHM_1 or recipe.network is None:
        return Work(0, 0, 0.0, 0.0)
    forward = forward_operations(recipe.network, dataset)
    real = sum(min(count, recipe.batch_real) for count in dataset.train.counts)
    synthetic = dataset.classes * min(recipe.ipc, recipe.batch_synthetic)
    inner_steps = recipe.iterations * recipe.inner_steps
    trainings = recipe.iterations * (recipe.inner_steps - 1)
    images = dataset.classes * recipe.ipc
    network_steps = trainings * recipe.network_epochs * -(-images // recipe.batch_train)
    matching = inner_steps * MATCHING_GRADIENT * synthetic
    passes = inner_steps * GRADIENT * real + matching + trainings * recipe.network_epochs * GRADIENT * images
    return Work(inner_steps, network_steps, forward * passes, forward * matching)


def making_operations(recipe: Recipe, dataset: Dataset) -> float:
    """Operations of making a set, roughly: all of Algorithm 1, of another method its passes over the images."""
    method = find(recipe.method)
    if recipe.method in ALGORITHM_1 or recipe.network is None:
        return count_work(recipe, dataset).operations
    forward = GRADIENT * forward_operations(recipe.network, dataset)
    if method.passes:
        return forward * len(dataset.train) * int(str(recipe.options["epochs"]))
    return forward * (recipe.iterations or 1) * recipe.ipc * dataset.classes


def try_a_step(recipe: Recipe, dataset: Dataset) -> Estimate | None:
    """Time a few steps and scale up; nothing is kept.

    Args:
        recipe: of any method.
        dataset: on the device to compute on.

    Returns:
        What it tells; None for a method of another package, of which it is not known what a step is.
    """
    if recipe.method not in BUILT_IN:
        return None
    device = dataset.train.images_NCHW.device
    reset_peak_memory(device)
    seconds = (_algorithm_1 if recipe.method in ALGORITHM_1 else _another_method)(recipe, dataset)
    return Estimate(seconds, peak_memory(device))


def _algorithm_1(recipe: Recipe, dataset: Dataset) -> float:
    """Seconds of a run, from inner steps with and without a network epoch after them."""
    inner = _seconds_per_step(replace(recipe, inner_steps=1), dataset)
    epoch = 0.0
    if recipe.inner_steps > 1:
        epoch = max(0.0, _seconds_per_step(replace(recipe, inner_steps=_TRIAL + 2, network_epochs=1), dataset) - inner)
    return recipe.iterations * (recipe.inner_steps * inner + (recipe.inner_steps - 1) * recipe.network_epochs * epoch)


_TRIAL = 3
_LONG = 2.0  # seconds


def _seconds_per_step(recipe: Recipe, dataset: Dataset) -> float:
    """The fastest of a few steps, or of one if they are long; the first warms up and does not count."""
    device = dataset.train.images_NCHW.device
    mode = choose_mode(dataset, recipe, device, long=False)
    clock = Clock(device)
    for _ in islice(condense(dataset, replace(recipe, iterations=_TRIAL + 1), mode=mode), _TRIAL + 1):
        clock.mark()
        if len(clock.marks) > 1 and clock.marks[-1] - clock.marks[0] > _LONG:
            break
    return clock.fastest()


class _EnoughError(Exception):
    """A trial has seen what it wanted."""


class _Trial(MethodWork):
    """Work that is stopped after a few steps."""

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        super().__init__(dataset, recipe)
        self.total, self.clock = 0, Clock(self.device)
        self.clock.mark()

    def keep(
        self, done: int, total: int, tensors: Mapping[str, Tensor], *, loss: float | None = None, doing: str = ""
    ) -> None:
        del done, tensors, loss, doing  # the clock alone is looked at
        self.total = total
        self.clock.mark()
        if len(self.clock.marks) > _STEPS + 1:
            raise _EnoughError


def _another_method(recipe: Recipe, dataset: Dataset) -> float:
    """Seconds of a run, from its first steps; where a step is a pass over all images, on a part of them."""
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
