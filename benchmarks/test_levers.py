"""What each lever of the engine gains, on CIFAR-10's shapes: `make bench`.

Benchmarks, not tests of correctness: those are in the other folders, where every fast path is held against a slow one.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from dsactl.augmentation.packed import Augmenter
from dsactl.benchmark.images import random_dataset
from dsactl.data.catalogue import CATALOGUE
from dsactl.engine.compilation import can_compile, compiled
from dsactl.engine.mode import PLAIN, Mode
from dsactl.engine.native import library
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.condense import condense
from dsactl.methods.gradient_matching.inner_step import choose_mode
from dsactl.methods.gradient_matching.matching import loss_function, matching_gradient, real_gradient
from dsactl.networks.build import initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import fuse
from dsactl.recipes.recipe import Recipe, Request
from dsactl.training.sgd import PlainTraining, Plan, stack

CPU = torch.device("cpu")
CHANNELS, SIZE, CLASSES, REAL = 3, (32, 32), 10, 256
PRECISIONS = ("float32", "bfloat16")


def repeat(benchmark: BenchmarkFixture, work: Callable[[], object], rounds: int = 7) -> None:
    """A warm-up twice, as compilers and allocators need, and the median of a few rounds."""
    benchmark.pedantic(work, rounds=rounds, warmup_rounds=2)


def network(*, fused: bool = False) -> torch.nn.Module:
    made = structure(NetworkSpec(), CHANNELS, SIZE, CLASSES).train()
    if fused and library() is None:
        pytest.skip("no C++ compiler")
    return fuse(made) if fused else made


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("fused", [False, True], ids=["torch's layers", "our layers"])
@pytest.mark.parametrize("at_once", [256, 64, 16])
def test_gradient_of_256_real_images(benchmark: BenchmarkFixture, precision: str, fused: bool, at_once: int) -> None:
    made = network(fused=fused)
    parameters, buffers = initial_state(made, generator(0, "network"))
    images = torch.randn(REAL, CHANNELS, *SIZE)
    loss = loss_function(made, precision)
    repeat(benchmark, lambda: real_gradient(loss, parameters, buffers, images, 3, at_once))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("ipc", [1, 10])
@pytest.mark.parametrize("chunk", [1, 10], ids=["one by one", "stacked"])
@pytest.mark.parametrize("compile_it", [False, True], ids=["eager", "compiled"])
def test_matching_gradient_of_10_classes(
    benchmark: BenchmarkFixture, precision: str, ipc: int, chunk: int, compile_it: bool
) -> None:
    if compile_it and not can_compile("cpu"):
        pytest.skip("no C++ compiler")
    made = network()
    parameters, buffers = initial_state(made, generator(0, "network"))
    images, labels = torch.randn(CLASSES, ipc, CHANNELS, *SIZE), torch.arange(CLASSES)
    real = {name: 0.01 * torch.randn(CLASSES, *tensor.shape) for name, tensor in parameters.items()}
    matching = matching_gradient(loss_function(made, precision), stacked=chunk > 1)
    if compile_it:
        matching = compiled(matching)

    def work() -> None:
        for first in range(0, CLASSES, chunk):
            part = slice(first, first + chunk)
            targets = {name: tensor[part] for name, tensor in real.items()}
            matching(parameters, buffers, images[part], labels[part], targets)

    repeat(benchmark, work)


def recipe(ipc: int, precision: str) -> Recipe:
    request = Request.parse({"dataset": "cifar10", "ipc": ipc, "inner_steps": 1, "iterations": 10**6})
    return request.resolve("cifar10", "random pixels", (CHANNELS, *SIZE), mirrored=True, precision=precision)


MODES = {
    "plain": PLAIN,
    "our layers": replace(PLAIN, native=True),
    "our layers, compiled": replace(PLAIN, native=True, compiled=True),
}


def chunked(mode: Mode, ipc: int) -> Mode:
    return replace(mode, chunk=10 if ipc == 1 else 1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("ipc", [1, 10])
@pytest.mark.parametrize("mode", MODES)
def test_inner_step(benchmark: BenchmarkFixture, precision: str, ipc: int, mode: str) -> None:
    """Real and synthetic gradients of 10 classes and the images' update."""
    if (MODES[mode].compiled and not can_compile("cpu")) or (MODES[mode].native and library() is None):
        pytest.skip("no C++ compiler")
    dataset = random_dataset("cifar10", CATALOGUE["cifar10"], REAL, CPU)
    states = condense(dataset, recipe(ipc, precision), mode=chunked(MODES[mode], ipc))
    repeat(benchmark, lambda: next(states))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("fused", [False, True], ids=["torch's layers", "our layers"])
@pytest.mark.parametrize("networks", [1, 4])
@pytest.mark.parametrize("ipc", [1, 10])
def test_ten_epochs_of_training(
    benchmark: BenchmarkFixture, precision: str, fused: bool, networks: int, ipc: int
) -> None:
    """Augmented batches, side by side where there are several networks."""
    if fused and networks > 1:
        pytest.skip("our layers train one network at a time")
    made = network(fused=fused)
    states = [initial_state(made, generator(0, "network", index)) for index in range(networks)]
    images, labels = torch.randn(CLASSES * ipc, CHANNELS, *SIZE), torch.arange(CLASSES).repeat_interleave(ipc)
    plan = Plan(epochs=10, lr=0.01, momentum=0.9, weight_decay=5e-4, precision=precision)
    training = PlainTraining(made, plan, Augmenter(recipe(ipc, precision).strategy, SIZE))

    def work() -> None:
        training(
            stack([parameters for parameters, _ in states]),
            stack([buffers for _, buffers in states]),
            images,
            labels,
            [generator(0, "training", index) for index in range(networks)],
        )

    repeat(benchmark, work, rounds=7 if networks == 1 else 3)


def test_the_engine_s_own_choice(benchmark: BenchmarkFixture) -> None:
    """An inner step of ten images per class as `dsactl condense` would compute it here."""
    from dsactl.engine.device import resolve_device, resolve_precision

    device = resolve_device()
    chosen = recipe(10, resolve_precision("auto", device))
    dataset = random_dataset("cifar10", CATALOGUE["cifar10"], REAL, device)
    states = condense(dataset, chosen, mode=choose_mode(dataset, chosen, device, long=True))
    repeat(benchmark, lambda: next(states))
