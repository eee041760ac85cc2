"""The benchmark: the time of steps of training on this machine, and the utilisation of its hardware.

The images are random: speed does not depend on their content, and no dataset is needed.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from dsactl.data.catalogue import CatalogueEntry
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.memory import keep_freed_memory, peak_memory, reset_peak_memory
from dsactl.engine.mode import Mode
from dsactl.engine.processes import SINGLE_PROCESS, DryRunGroup
from dsactl.engine.progress import Progress
from dsactl.engine.random import generator
from dsactl.engine.session import Session
from dsactl.evaluation.evaluate import evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.methods.gradient_matching.condense import condense, initial
from dsactl.methods.gradient_matching.cost import MATCHING_GRADIENT
from dsactl.methods.gradient_matching.inner_network import training_of
from dsactl.methods.gradient_matching.inner_step import choose_mode, synthetic_batch
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.networks.build import initial_state, structure
from dsactl.networks.fused import fuse
from dsactl.paper import EPOCHS_AUGMENTED
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.sgd import stack

STEPS = 5  # timed, after two that warm up caches, allocators and compilers
SECONDS = 20.0  # per kind of work; slower machines run a part of it and scale up, so that all takes about two minutes
FEWEST = 5  # repetitions that must fit into this time, warm-up included
EXPECTED_SHARE = 0.4  # of a matrix product's speed, from which the time of a piece of work is guessed
NETWORK_STEPS = 10  # per repetition
EPOCHS, CUDA_EPOCHS = 10, 200  # of the shorter evaluation that is timed
CUDA_NETWORKS = 20  # evaluated in parallel
MATRICES = (4096, 2048, 1024)


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work.

    Attributes:
        median, low, high: over the repetitions.
        repetitions: number of repetitions.
        operations: floating-point operations of the piece.
        share: utilisation, as a fraction of the speed of a large matrix product in the same precision.
    """

    median: float
    low: float
    high: float
    repetitions: int
    operations: float
    share: float


@dataclass(frozen=True)
class Bench:
    """The results of the benchmark.

    Attributes:
        device, torch, precision, mode: the environment.
        dataset, ipc, network: the shapes; there are 256 real images per class.
        matrix_product: operations per second of a product of two square matrices, of side 4096 if that is fast enough.
        inner_step: gradient matching of all classes, and the update of the images.
        network_step: one SGD step on the synthetic set, augmented.
        evaluation: one network trained by the protocol and tested.
        memory: peak of the process (CPU) or of the device (CUDA), including images and program, bytes.
        scaled: descriptions of what was measured in part and scaled up.
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
    scaled: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def random_dataset(name: str, entry: CatalogueEntry, per_class: int, device: torch.device) -> Dataset:
    """Return a dataset of random pixels in the shapes of a named one.

    Args:
        name: of the dataset.
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


def bench(dataset: Dataset, recipe: Recipe, device: torch.device, progress: Progress) -> Bench:
    """Run the benchmark.

    Args:
        dataset: on the device, see `random_dataset`.
        recipe: of method "dsa".
        device: to compute on.
        progress: the meter, which counts the four measurements.
    """
    assert recipe.network is not None
    prepare_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    reset_peak_memory(device)
    progress.update(0, 4, "a large matrix product")
    limit = matrix_product(device, recipe.precision)
    forward = forward_operations(recipe.network, dataset)
    settings = recipe.settings_as(GradientMatching)
    real = sum(min(count, settings.batch_real) for count in dataset.train.counts)
    synthetic = dataset.classes * synthetic_batch(recipe)
    images = dataset.classes * recipe.ipc
    inner_operations = forward * (GRADIENT * real + MATCHING_GRADIENT * synthetic)
    step_operations = forward * GRADIENT * min(images, settings.batch_train)

    def fitting(operations: float, seconds: float = SECONDS) -> float:
        """Return how many times a number of operations should fit into a time."""
        return seconds * EXPECTED_SHARE * limit / operations

    classes = max(1, min(dataset.classes, int(dataset.classes * fitting(inner_operations) / FEWEST)))
    steps = max(1, min(NETWORK_STEPS, int(fitting(step_operations, SECONDS / 2) / FEWEST)))
    mode = choose_mode(dataset, recipe, device, long=True)
    progress.update(1, 4, "compiling, then inner steps" if mode.compiled else "inner steps")
    inner = _timed(_inner_step(dataset, recipe, mode, classes), device)
    progress.update(2, 4, "network steps")
    network = _timed(_network_steps(dataset, recipe, mode, steps), device)
    progress.update(3, 4, "evaluation")
    together = CUDA_NETWORKS if device.type == "cuda" else 1
    lengths = Lengths.fitting(
        len(dataset.test),
        epochs=fitting(forward * GRADIENT * images * together, SECONDS / 2),
        tests=fitting(forward * together, SECONDS / 2),
        cuda=device.type == "cuda",
    )
    seconds = _evaluation_seconds(dataset, recipe, device, lengths, together)

    def timing(measured: list[float], operations: float) -> Timing:
        median = statistics.median(measured)
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
        inner_step=timing([each * dataset.classes / classes for each in inner], inner_operations),
        network_step=timing([each / steps for each in network], step_operations),
        evaluation=timing([seconds], forward * (GRADIENT * images * EPOCHS_AUGMENTED + len(dataset.test))),
        memory=peak_memory(device),
        scaled=(
            *([f"the inner step from {classes} of its {dataset.classes} classes"] if classes < dataset.classes else []),
            f"the evaluation from {lengths.in_words(len(dataset.test))}",
        ),
    )


def matrix_product(device: torch.device, precision: str) -> float:
    """Return operations per second of a product of two large square matrices, the fastest of a few repetitions.

    They are as large as fits into the time on this machine.
    """
    speed = 0.0
    for side in reversed(MATRICES):
        if speed and 2 * side**3 / speed * FEWEST > SECONDS / 2:
            break
        a, b = torch.randn(2, side, side, device=device).to(getattr(torch, precision)).unbind()
        speed = 2 * side**3 / min(_timed(partial(torch.matmul, a, b), device))
    return speed


@dataclass(frozen=True)
class Lengths:
    """The lengths of the evaluations that are timed and scaled up to a full one.

    Attributes:
        epochs: of the shorter training; the longer one has three times as many.
        tests: number of images of the shorter and of the longer test.
    """

    epochs: int
    tests: tuple[int, int]

    @classmethod
    def fitting(cls, test_images: int, *, epochs: float, tests: float, cuda: bool) -> "Lengths":
        """Return the longest that fit into the time.

        Args:
            test_images: of a full test.
            epochs, tests: number of epochs, and of test images, that fit into the time in total.
            cuda: whether networks are trained on a GPU, where the first epochs are slower.
        """
        # Trainings: 2 epochs of warm-up, then 1 part, 3 parts and 1 part. Tests: three short ones and a long one.
        most = CUDA_EPOCHS if cuda else EPOCHS
        longer = max(2, min(test_images, int(tests * 4 / 7)))
        return cls(max(1, min(most, int((epochs - 2) / 5))), (longer // 4 or 1, longer))

    def in_words(self, test_images: int) -> str:
        """Describe them: "10 and 30 of 1000 epochs, and 2,500 and 10,000 of 10,000 test images"."""
        shorter, longer = (f"{count:,}" for count in self.tests)
        epochs = f"{self.epochs} and {3 * self.epochs} of {EPOCHS_AUGMENTED} epochs"
        return f"{epochs}, and {shorter} and {longer} of {test_images:,} test images"


def _timed(step: Callable[[], object], device: torch.device) -> list[float]:
    """Return the seconds of each of a few steps: `STEPS`, or at least three if they are slow."""
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


def _inner_step(dataset: Dataset, recipe: Recipe, mode: Mode, classes: int) -> Callable[[], object]:
    """Return a function that takes an inner step of the first classes: one process's share of the work."""
    endless = recipe.with_settings(inner_steps=1, iterations=10**6)
    states = condense(dataset, endless, mode=mode, processes=FirstClasses(classes))
    return lambda: next(states)


class FirstClasses(DryRunGroup):
    """A process that has only the first classes.

    Args:
        classes: number of these.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(SINGLE_PROCESS)
        self._classes = classes

    def share(self, classes: int) -> range:
        """Return the first of them."""
        return range(min(classes, self._classes))


def _network_steps(dataset: Dataset, recipe: Recipe, mode: Mode, steps: int) -> Callable[[], object]:
    """Return a function that takes several steps of SGD."""
    assert recipe.network is not None
    network = structure(recipe.network, dataset.channels, dataset.size, dataset.classes)
    if mode.native:
        fuse(network)
    parameters, buffers = initial_state(network, generator(0, "bench-network"), dataset.train.labels_N.device)
    images_NCHW = initial(dataset, recipe).images_KICHW.flatten(0, 1)
    labels_N = dataset.labels(recipe.ipc)
    batch = recipe.settings_as(GradientMatching).batch_train
    images_NCHW, labels_N = images_NCHW[-batch:], labels_N[-batch:]
    several = recipe.with_settings(network_epochs=steps)
    training = training_of(network, several, dataset.size, captured=mode.captured)
    source = partial(generator, 0, "bench-training")
    return lambda: training(stack([parameters]), stack([buffers]), images_NCHW, labels_N, [source()])


def _evaluation_seconds(
    dataset: Dataset, recipe: Recipe, device: torch.device, lengths: Lengths, networks: int
) -> float:
    """Estimate the seconds of one network by the full protocol, from trainings and tests of two lengths each."""
    images_NCHW = initial(dataset, recipe).images_KICHW.flatten(0, 1).cpu()
    labels_N = dataset.labels(recipe.ipc).cpu()
    made = replace(recipe, checksum=dataset.train.checksum())
    synthetic = SyntheticSet(
        images_NCHW, labels_N, dataset.class_names, dataset.mean, dataset.std, made, "bench", "bench"
    )

    def seconds(epochs: int, tests: int) -> float:
        test = ImageSet.from_tensors(dataset.test.images_NCHW[:tests], dataset.test.labels_N[:tests], dataset.classes)
        protocol = Protocol(networks=networks, epochs=epochs, precision=recipe.precision)
        return evaluate(synthetic, replace(dataset, test=test), protocol, Session.open(device)).seconds

    epochs, (few, more) = lengths.epochs, lengths.tests
    seconds(2, few)
    short, longer, tested = seconds(epochs, few), seconds(3 * epochs, few), seconds(epochs, more)
    an_epoch, a_test = max(0.0, longer - short) / (2 * epochs), max(0.0, tested - short) / (more - few)
    return (short + an_epoch * (EPOCHS_AUGMENTED - epochs) + a_test * (len(dataset.test) - few)) / networks
