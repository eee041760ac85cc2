"""The benchmark of a method and of evaluation on random images."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from dsactl.benchmark.evaluation import Lengths, evaluation_seconds
from dsactl.benchmark.gradient_matching import inner_step, network_steps
from dsactl.benchmark.iterations import iterations
from dsactl.benchmark.timing import FEWEST, Timing, fitting, matrix_product, timed
from dsactl.data.dataset import Dataset
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.memory import keep_freed_memory, peak_memory, reset_peak_memory
from dsactl.engine.progress import Progress
from dsactl.methods.gradient_matching.cost import MATCHING_GRADIENT
from dsactl.methods.gradient_matching.inner_step import choose_mode, synthetic_batch
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.paper import EPOCHS_AUGMENTED
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe

METHODS = ("dsa", "dc", "dm", "dance")
"""The methods that can be measured."""
NETWORK_STEPS = 10  # per repetition
CUDA_NETWORKS = 20  # evaluated in parallel


@dataclass(frozen=True)
class Bench:
    """The results of the benchmark.

    Attributes:
        device, torch, precision, mode: the environment.
        dataset, ipc, method, network: the work; there are 256 real images per class.
        matrix_product: operations per second of a product of two square matrices, of side 4096 if that is fast enough.
        timings: by name. Of dsa and dc: inner_step, gradient matching of all classes and the update of the images;
            network_step, one SGD step on the synthetic set, augmented. Of other methods: iteration. Of all: evaluation,
            one network trained by the usual protocol and tested.
        memory: peak of the process (CPU) or of the device (CUDA), including images and program, bytes.
        scaled: descriptions of what was measured in part and scaled up.
    """

    device: str
    torch: str
    precision: str
    mode: str
    dataset: str
    ipc: int
    method: str
    network: str
    matrix_product: float
    timings: dict[str, Timing]
    memory: int
    scaled: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, with the timings on the level of the others."""
        values = asdict(self)
        return {**values, **values.pop("timings")}


@dataclass(frozen=True)
class _Measured:
    """Timings of a method's own work, the mode it was done in, and what was scaled up."""

    mode: str
    timings: dict[str, Timing]
    scaled: list[str]


def bench(dataset: Dataset, recipe: Recipe, device: torch.device, progress: Progress) -> Bench:
    """Run the benchmark.

    Args:
        dataset: on the device, see `random_dataset`.
        recipe: of one of `METHODS`.
        device: to compute on.
        progress: the meter, which counts the three measurements.
    """
    assert recipe.network is not None
    prepare_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    reset_peak_memory(device)
    progress.update(0, 3, "a large matrix product")
    limit = matrix_product(device, recipe.precision)
    progress.update(1, 3, "steps")
    if isinstance(recipe.settings, GradientMatching):
        own = _gradient_matching(dataset, recipe, device, limit)
    else:
        own = _iterations(dataset, recipe, limit)
    progress.update(2, 3, "evaluation")
    together = CUDA_NETWORKS if device.type == "cuda" else 1
    forward, images = forward_operations(recipe.network, dataset), dataset.classes * recipe.ipc
    lengths = Lengths.fitting(
        len(dataset.test),
        epochs=fitting(forward * GRADIENT * images * together, limit, 0.5),
        tests=fitting(forward * together, limit, 0.5),
        cuda=device.type == "cuda",
    )
    seconds = evaluation_seconds(dataset, recipe, device, lengths, together)
    operations = forward * (GRADIENT * images * EPOCHS_AUGMENTED + len(dataset.test))
    return Bench(
        device=describe(device),
        torch=torch.__version__,
        precision=recipe.precision,
        mode=own.mode,
        dataset=dataset.name,
        ipc=recipe.ipc,
        method=recipe.method,
        network=str(recipe.network_label),
        matrix_product=limit,
        timings={**own.timings, "evaluation": Timing.of([seconds], operations, limit)},
        memory=peak_memory(device),
        scaled=(*own.scaled, f"the evaluation from {lengths.in_words(len(dataset.test))}"),
    )


def _gradient_matching(dataset: Dataset, recipe: Recipe, device: torch.device, limit: float) -> _Measured:
    """Time inner steps and network steps of Algorithm 1."""
    assert recipe.network is not None
    forward, settings = forward_operations(recipe.network, dataset), recipe.settings_as(GradientMatching)
    real = sum(min(count, settings.batch_real) for count in dataset.train.counts)
    synthetic = dataset.classes * synthetic_batch(recipe)
    inner_operations = forward * (GRADIENT * real + MATCHING_GRADIENT * synthetic)
    step_operations = forward * GRADIENT * min(dataset.classes * recipe.ipc, settings.batch_train)
    classes = _fitting_classes(dataset, inner_operations, limit)
    steps = max(1, min(NETWORK_STEPS, int(fitting(step_operations, limit, 0.5) / FEWEST)))
    mode = choose_mode(dataset, recipe, device, long=True)
    inner = timed(inner_step(dataset, recipe, mode, classes), device)
    network = timed(network_steps(dataset, recipe, mode, steps), device)
    timings = {
        "inner_step": Timing.of([each * dataset.classes / classes for each in inner], inner_operations, limit),
        "network_step": Timing.of([each / steps for each in network], step_operations, limit),
    }
    return _Measured(str(mode), timings, _scaled("inner step", classes, dataset))


def _iterations(dataset: Dataset, recipe: Recipe, limit: float) -> _Measured:
    """Time iterations of another method."""
    work = find(recipe.method).load_cost().counts(recipe, dataset)
    operations = work["operations"] / work["iterations"]
    classes = _fitting_classes(dataset, operations, limit)
    mode, seconds = iterations(dataset, recipe, classes)
    timing = Timing.of([each * dataset.classes / classes for each in seconds], operations, limit)
    return _Measured(mode, {"iteration": timing}, _scaled("iteration", classes, dataset))


def _fitting_classes(dataset: Dataset, operations: float, limit: float) -> int:
    return max(1, min(dataset.classes, int(dataset.classes * fitting(operations, limit) / FEWEST)))


def _scaled(what: str, classes: int, dataset: Dataset) -> list[str]:
    return [f"the {what} from {classes} of its {dataset.classes} classes"] if classes < dataset.classes else []
