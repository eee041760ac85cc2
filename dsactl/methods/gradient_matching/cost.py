"""The cost of a run of Algorithm 1: operations by counting, seconds by timing a few inner steps.

The gradient of the matching distance with respect to the images costs seven forward passes, since each convolution's
backward pass is differentiated again with respect to its input and its incoming gradient, but not its weights.
"""

from dataclasses import dataclass, replace
from itertools import islice

from dsactl.data.dataset import Dataset
from dsactl.engine.clock import Clock
from dsactl.methods.gradient_matching.condense import condense
from dsactl.methods.gradient_matching.inner_network import real_images
from dsactl.methods.gradient_matching.inner_step import choose_mode, synthetic_batch
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.recipes.recipe import Recipe

MATCHING_GRADIENT = 7
_TRIAL = 3  # inner steps
_LONG = 2.0  # seconds


@dataclass(frozen=True)
class OperationCount:
    """The arithmetic of a run of Algorithm 1.

    Attributes:
        inner_steps: of the whole run.
        network_steps: SGD steps of networks in the whole run.
        operations: floating-point operations of the whole run.
        matching_operations: the part of the matching distance.
    """

    inner_steps: int
    network_steps: int
    operations: float
    matching_operations: float


def count_work(recipe: Recipe, dataset: Dataset) -> OperationCount:
    """Count the work of a recipe."""
    assert recipe.network is not None, "Algorithm 1 needs a network"
    settings = recipe.settings_as(GradientMatching)
    forward = forward_operations(recipe.network, dataset)
    real = sum(min(count, settings.batch_real) for count in dataset.train.counts)
    synthetic = dataset.classes * synthetic_batch(recipe)
    inner_steps = settings.iterations * settings.inner_steps
    trainings = settings.iterations * (settings.inner_steps - 1)
    images = dataset.classes * recipe.decoded
    if settings.variant.network_data == "real":
        images = real_images(recipe, dataset)
    network_steps = trainings * settings.network_epochs * -(-images // settings.batch_train)
    matching = inner_steps * MATCHING_GRADIENT * synthetic
    passes = inner_steps * GRADIENT * real + matching + trainings * settings.network_epochs * GRADIENT * images
    return OperationCount(inner_steps, network_steps, forward * passes, forward * matching)


def counts(recipe: Recipe, dataset: Dataset) -> dict[str, float]:
    """Count the steps and operations of a run, by name."""
    work = count_work(recipe, dataset)
    names = ("inner_steps", "network_steps", "operations")
    return {name: getattr(work, name) for name in names}


def seconds(recipe: Recipe, dataset: Dataset) -> float:
    """Estimate the seconds of a plain run, from inner steps with and without a network epoch after them."""
    settings = recipe.settings_as(GradientMatching)
    inner = _seconds_per_step(recipe.with_settings(inner_steps=1), dataset)
    epoch = 0.0
    if settings.inner_steps > 1:
        epoch = max(
            0.0, _seconds_per_step(recipe.with_settings(inner_steps=_TRIAL + 2, network_epochs=1), dataset) - inner
        )
    return settings.iterations * (
        settings.inner_steps * inner + (settings.inner_steps - 1) * settings.network_epochs * epoch
    )


def _seconds_per_step(recipe: Recipe, dataset: Dataset) -> float:
    """Return the seconds of the fastest of a few steps, or of one if they are long; the first is a warm-up."""
    device = dataset.train.images_NCHW.device
    mode = replace(choose_mode(dataset, recipe, device, long=False), captured=False)
    clock = Clock(device)
    for _ in islice(condense(dataset, recipe.with_settings(iterations=_TRIAL + 1), mode=mode), _TRIAL + 1):
        clock.mark()
        if len(clock.marks) > 1 and clock.marks[-1] - clock.marks[0] > _LONG:
            break
    return clock.fastest()
