"""The program's own yardstick: what a step takes on this machine, and how near that is to what the machine can do.

The images are random: speed does not depend on what they show, and no data set is needed.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from dsactl.cost import GRADIENT, MATCHING_GRADIENT, forward_operations
from dsactl.data.catalogue import CatalogueEntry
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.dsa.condense import condense, initial
from dsactl.dsa.inner_network import training_of
from dsactl.dsa.inner_step import choose_mode
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.memory import keep_freed_memory, peak_memory, reset_peak_memory
from dsactl.engine.mode import Mode
from dsactl.engine.random import generator
from dsactl.evaluation.evaluate import evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.build import initial_state, structure
from dsactl.networks.fused import fuse
from dsactl.paper import EPOCHS_AUGMENTED
from dsactl.recipe import Recipe
from dsactl.synthetic import SyntheticSet
from dsactl.training import stack

STEPS = 5  # timed, after two that warm up caches, allocators and compilers
SECONDS = 20.0  # for the steps of one kind
NETWORK_STEPS = 10  # in one repetition
EPOCHS, CUDA_EPOCHS = 10, 200  # of the shorter evaluation that is timed
MATRIX = 4096


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work.

    Attributes:
        median, low, high: over the repetitions.
        repetitions: how many.
        operations: floating-point operations of the piece.
        share: of the speed of a large matrix product in the same precision here.
    """

    median: float
    low: float
    high: float
    repetitions: int
    operations: float
    share: float


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Attributes:
        device, torch, precision, mode: with what.
        dataset, ipc, network: of which shapes; 256 real images per class.
        matrix_product: operations per second of a product of two square matrices of side 4096.
        inner_step: matching gradients of all classes and the images' update.
        network_step: one SGD step on the synthetic set, augmented.
        evaluation: one network trained by the protocol and tested; scaled up from a few epochs, its tests whole.
        memory: peak of the process (CPU) or of the device (CUDA), images and program included, bytes.
    """

    device: str
    torch: str
    precision: str
    mode: str
    dataset: str
    ipc: int
    network: str
    matrix_product: float
    inner_step: Timing
    network_step: Timing
    evaluation: Timing
    memory: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def random_dataset(name: str, entry: CatalogueEntry, per_class: int, device: torch.device) -> Dataset:
    """A data set of random pixels in the shapes of a named one.

    Args:
        name: of the data set.
        entry: its shapes.
        per_class: training images of each class.
        device: where the images go.
    """
    source = generator(0, "bench-images")

    def split(count: int) -> ImageSet:
        images = torch.randint(256, (count, entry.channels, *entry.size), dtype=torch.uint8, generator=source)
        return ImageSet.from_tensors(images, torch.arange(count) % entry.classes, entry.classes)

    half = (0.5,) * entry.channels
    names = tuple(str(label) for label in range(entry.classes))
    return Dataset(name, names, half, half, entry.mirrored, split(per_class * entry.classes), split(entry.test)).to(
        device
    )


def bench(
    dataset: Dataset, recipe: Recipe, device: torch.device, phase: Callable[[str], None] = lambda doing: None
) -> Bench:
    """Measure.

    Args:
        dataset: on the device, see `random_dataset`.
        recipe: of method "dsa".
        device: to compute on.
        phase: told what comes next, in a few words.
    """
    assert recipe.network is not None
    prepare_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    reset_peak_memory(device)
    phase("a large matrix product")
    limit = matrix_product(device, recipe.precision)
    mode = choose_mode(dataset, recipe, device, long=True)
    forward = forward_operations(recipe.network, dataset)
    phase("compiling, then inner steps" if mode.compiled else "inner steps")
    inner = _timed(_inner_step(dataset, recipe, mode), device)
    phase("network steps")
    network = [seconds / NETWORK_STEPS for seconds in _timed(_network_steps(dataset, recipe, mode), device)]
    phase("evaluation")
    seconds = _evaluation_seconds(dataset, recipe, device)
    images = dataset.classes * recipe.ipc
    real = sum(min(count, recipe.batch_real) for count in dataset.train.counts)
    synthetic = dataset.classes * min(recipe.ipc, recipe.batch_synthetic)

    def timing(measured: list[float], passes: float) -> Timing:
        operations, median = forward * passes, statistics.median(measured)
        return Timing(median, min(measured), max(measured), len(measured), operations, operations / median / limit)

    return Bench(
        device=describe(device),
        torch=torch.__version__,
        precision=recipe.precision,
        mode=str(mode),
        dataset=dataset.name,
        ipc=recipe.ipc,
        network=str(recipe.network_label),
        matrix_product=limit,
        inner_step=timing(inner, GRADIENT * real + MATCHING_GRADIENT * synthetic),
        network_step=timing(network, GRADIENT * min(images, recipe.batch_train)),
        evaluation=timing([seconds], GRADIENT * images * EPOCHS_AUGMENTED + len(dataset.test)),
        memory=peak_memory(device),
    )


def matrix_product(device: torch.device, precision: str) -> float:
    """Operations per second of a product of two large square matrices, the fastest of a few."""
    a, b = torch.randn(2, MATRIX, MATRIX, device=device).to(getattr(torch, precision)).unbind()
    return 2 * MATRIX**3 / min(_timed(lambda: a @ b, device))


def _timed(step: Callable[[], object], device: torch.device) -> list[float]:
    """Seconds of each of a few steps; fewer than `STEPS` where they are slow, but three."""
    for _ in range(2):
        step()
    measured: list[float] = []
    began = time.perf_counter()
    while len(measured) < 3 or (len(measured) < STEPS and time.perf_counter() - began < SECONDS):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        measured.append(time.perf_counter() - start)
    return measured


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _inner_step(dataset: Dataset, recipe: Recipe, mode: Mode) -> Callable[[], object]:
    states = condense(dataset, replace(recipe, inner_steps=1, iterations=10**6), mode=mode)
    return lambda: next(states)


def _network_steps(dataset: Dataset, recipe: Recipe, mode: Mode) -> Callable[[], object]:
    """`NETWORK_STEPS` steps of SGD in one call."""
    assert recipe.network is not None
    network = structure(recipe.network, dataset.channels, dataset.size, dataset.classes)
    if mode.native:
        fuse(network)
    parameters, buffers = initial_state(network, generator(0, "bench-network"), dataset.train.labels_N.device)
    images_NCHW = initial(dataset, recipe).images_KICHW.flatten(0, 1)
    labels_N = torch.arange(dataset.classes, device=images_NCHW.device).repeat_interleave(recipe.ipc)
    images_NCHW, labels_N = images_NCHW[-recipe.batch_train :], labels_N[-recipe.batch_train :]
    steps = replace(recipe, network_epochs=NETWORK_STEPS)
    training = training_of(network, steps, dataset.size, captured=mode.captured)
    source = partial(generator, 0, "bench-training")
    return lambda: training(stack([parameters]), stack([buffers]), images_NCHW, labels_N, [source()])


def _evaluation_seconds(dataset: Dataset, recipe: Recipe, device: torch.device) -> float:
    """One network by the whole protocol, from two short trainings that differ in their epochs."""
    images_NCHW = initial(dataset, recipe).images_KICHW.flatten(0, 1).cpu()
    labels_N = torch.arange(dataset.classes).repeat_interleave(recipe.ipc)
    made = replace(recipe, checksum=dataset.train.checksum())
    synthetic = SyntheticSet(
        images_NCHW, labels_N, dataset.class_names, dataset.mean, dataset.std, made, "bench", "bench"
    )
    networks = 20 if device.type == "cuda" else 1

    def seconds(epochs: int) -> float:
        protocol = Protocol(networks=networks, epochs=epochs, precision=recipe.precision)
        return evaluate(synthetic, dataset, protocol, device).seconds

    epochs = CUDA_EPOCHS if device.type == "cuda" else EPOCHS
    seconds(2)
    short, longer = seconds(epochs), seconds(3 * epochs)
    return (short + (longer - short) * (EPOCHS_AUGMENTED - epochs) / (2 * epochs)) / networks
