"""Steps captured as CUDA graphs: run again instead of replayed on a CPU, and replayed on a GPU (marked gpu).

A graph repeats the operations recorded during its capture. `Again` calls the function again, writes its results into
the same tensors, and refuses to read a tensor's value, as a capture does.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from devices import ON_EACH_DEVICE
from reference import small_dataset
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsactl.augmentation.packed import Augmenter
from dsactl.engine.device import compute_reproducibly
from dsactl.engine.mode import PLAIN, Mode
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching import inner_step
from dsactl.methods.gradient_matching.condense import condense, initial
from dsactl.networks.build import build, initial_state
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Recipe, Request
from dsactl.training import cuda_graph
from dsactl.training.cuda_graph import CapturedTraining, TrainingWithFallback
from dsactl.training.schedule import Schedule
from dsactl.training.sgd import PlainTraining, Plan, stack

DATASET = small_dataset(per_class=16)
CAPTURED = replace(PLAIN, captured=True, chunk=2)


class Refuse(TorchDispatchMode):
    """A dispatch mode that fails at operations that cannot be captured."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


class OnMetaAlone(TorchDispatchMode):
    """A dispatch mode that fails at any tensor outside the device "meta", which stands in for a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, torch.Tensor) and tensor.device.type != "meta":
                raise RuntimeError(f"{func} touches {tensor.device}")
        return result


class OnMeta:
    """A stand-in for a graph: the function runs on tensors without values."""

    def __init__(self, function: Callable[[], Any]) -> None:
        function()  # creates what is cached between calls
        with OnMetaAlone():
            self.result = function()

    def replay(self) -> Any:
        return self.result


class Again:
    made = 0

    def __init__(self, function: Callable[[], Any]) -> None:
        Again.made += 1
        self._function = function
        for _ in range(3):
            function()
        with Refuse():
            self.result = function()

    def replay(self) -> Any:
        result = self._function()
        if result is not None:
            for kept, new in zip(self.result, result, strict=True):
                kept.copy_(new)
        return self.result


def use(graph: type, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inner_step, cuda_graph):
        monkeypatch.setattr(module, "Graph", graph)


@pytest.fixture
def _again(monkeypatch: pytest.MonkeyPatch) -> None:
    use(Again, monkeypatch)
    monkeypatch.setattr(Again, "made", 0)


def recipe(**options: object) -> Recipe:
    values = {"dataset": "small", "ipc": 2, "iterations": 3, "inner_steps": 3, "network_epochs": 2, "width": 8}
    values |= {"batch_real": 12, "batch_train": 4, **options}
    return Request.parse(values).resolve(
        "small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision="float32"
    )


CASES = {
    "dsa": recipe(),
    "dc": recipe(method="dc"),
    "batch norm": recipe(norm="batch"),
    "few of the synthetic images": recipe(ipc=4, batch_synthetic=3),
    "formation": recipe(ipc=1, formation=2),
    "idc": recipe(method="idc", ipc=1, formation=2, batch_synthetic=3),
}


@pytest.mark.usefixtures("_again")
@pytest.mark.parametrize("name", CASES)
def test_captured_steps_are_the_same_steps(name: str) -> None:
    case = CASES[name]
    plain = [state.images_KICHW for state in condense(DATASET, case, mode=replace(PLAIN, chunk=2))]
    captured = [state.images_KICHW for state in condense(DATASET, case, mode=CAPTURED)]
    moved = (plain[-1] - initial(DATASET, case).images_KICHW).norm()
    for ours, theirs in zip(captured, plain, strict=True):
        assert (ours - theirs).norm() / moved < 1e-3
    # Two chunk sizes (2 and 1 of 3 classes), and two batch sizes (4 and the remainder); IDC's training is not captured.
    batches = set() if name == "idc" else {4, DATASET.classes * case.decoded % 4} - {0}
    assert Again.made == 2 + len(batches)


@pytest.mark.usefixtures("_again")
@pytest.mark.parametrize("networks", [1, 3])
def test_captured_training_is_the_same_training(networks: int) -> None:
    network = build(NetworkSpec(width=8), 1, (8, 8), 3)
    images = DATASET.normalise(DATASET.train.images_NCHW)[::4]
    labels = DATASET.train.labels_N[::4]
    plan = Plan(epochs=4, lr=0.05, momentum=0.9, weight_decay=0.01, batch=5, schedule=Schedule((2,)))
    augment = Augmenter(("crop", "flip", "color"), (8, 8))
    states = [initial_state(network, generator(0, "network", index)) for index in range(networks)]
    begin = stack([parameters for parameters, _ in states]), stack([buffers for _, buffers in states])

    def sources(seed: int) -> list[torch.Generator]:
        return [generator(seed, "training", index) for index in range(networks)]

    captured = CapturedTraining(network, plan, augment)
    for seed in (0, 1):  # the second call uses the first one's graphs
        expected, _ = PlainTraining(network, plan, augment)(*begin, images, labels, sources(seed))
        result, _ = captured(*begin, images, labels, sources(seed))
        for name, tensor in expected.items():
            torch.testing.assert_close(result[name], tensor, rtol=1e-3, atol=1e-5)
    assert Again.made == len({5, len(images) % 5} - {0})


@pytest.mark.usefixtures("_again")
def test_a_captured_run_goes_on_with_the_same_bits() -> None:
    states = list(condense(DATASET, CASES["dsa"], mode=CAPTURED))
    for state in states[:-1:3]:
        last = list(condense(DATASET, CASES["dsa"], state, mode=CAPTURED))[-1]
        assert torch.equal(last.images_KICHW, states[-1].images_KICHW)


@pytest.mark.parametrize("name", CASES)
def test_what_is_captured_stays_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(OnMeta, monkeypatch)
    case, there = CASES[name], torch.device("meta")
    assert case.network is not None
    network = build(case.network, 1, (8, 8), 3)
    parameters, buffers = (
        {name: tensor.to(there) for name, tensor in part.items()}
        for part in initial_state(network, generator(0, "network"))
    )
    images = initial(DATASET, case).images_KICHW.to(there)
    step = inner_step.InnerStep(DATASET.to(there), case, network, Mode("cuda", captured=True, chunk=2))
    distance, gradient = step(parameters, buffers, images, 0, 0)
    assert (distance.shape, gradient.shape) == ((3,), images.shape)
    assert distance.is_meta
    assert gradient.is_meta
    training = CapturedTraining(network, Plan(epochs=1, lr=0.1, batch=4), Augmenter(case.strategy, (8, 8)))
    trained, _ = training(
        stack([parameters]),
        stack([buffers]),
        images.flatten(0, 1),
        DATASET.to(there).labels(case.ipc),
        [generator(0, "training")],
    )
    assert all(tensor.is_meta for tensor in trained.values())


@pytest.mark.parametrize("broken_at", [1, 2])
def test_training_goes_on_without_graphs(broken_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first capture fails, or that of the smaller last batch, after some steps."""

    class Broken(Again):
        def __init__(self, function: Callable[[], Any]) -> None:
            super().__init__(function)
            if Again.made == broken_at:
                raise RuntimeError("operation not permitted when stream is capturing\nand more")

    use(Broken, monkeypatch)
    monkeypatch.setattr(Again, "made", 0)
    network = build(NetworkSpec(width=8), 1, (8, 8), 3)
    images = DATASET.normalise(DATASET.train.images_NCHW)[::4]
    labels = DATASET.train.labels_N[::4]
    assert len(images) % 5 != 0
    plan, augment = Plan(epochs=2, lr=0.05, batch=5), Augmenter(("crop", "flip"), (8, 8))
    begin = [stack([part]) for part in initial_state(network, generator(0, "network"))]
    expected, _ = PlainTraining(network, plan, augment)(*begin, images, labels, [generator(0, "training")])
    training = TrainingWithFallback(network, plan, augment)
    with pytest.warns(UserWarning, match=r"without CUDA graphs.*stream is capturing\)"):
        result, _ = training(*begin, images, labels, [generator(0, "training")])
    again, _ = training(*begin, images, labels, [generator(0, "training")])
    assert Again.made == broken_at, "what failed once is not tried again"
    for name, tensor in expected.items():
        assert torch.equal(result[name], tensor)
        assert torch.equal(again[name], tensor)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("networks", [1, 3])
def test_real_graphs_train_like_the_uncaptured_loop(networks: int, precision: str) -> None:
    compute_reproducibly()
    there = torch.device("cuda")
    network = build(NetworkSpec(width=8), 1, (8, 8), 3)
    images = DATASET.normalise(DATASET.train.images_NCHW)[::4].to(there)
    labels = DATASET.train.labels_N[::4].to(there)
    plan = Plan(
        epochs=4, lr=0.05, momentum=0.9, weight_decay=0.01, batch=5, schedule=Schedule((2,)), precision=precision
    )
    augment = Augmenter(("crop", "flip", "color"), (8, 8))
    states = [initial_state(network, generator(0, "network", index), there) for index in range(networks)]
    begin = stack([parameters for parameters, _ in states]), stack([buffers for _, buffers in states])
    captured = CapturedTraining(network, plan, augment)
    for seed in (0, 1):
        sources = [[generator(seed, "training", index) for index in range(networks)] for _ in range(2)]
        expected, _ = PlainTraining(network, plan, augment)(*begin, images, labels, sources[0])
        result, _ = captured(*begin, images, labels, sources[1])
        for name, tensor in expected.items():
            torch.testing.assert_close(result[name], tensor, rtol=1e-2, atol=1e-3)


@ON_EACH_DEVICE
@pytest.mark.parametrize("networks", [1, 20])
def test_captured_training_on_soft_labels(networks: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if device == "cpu":
        use(Again, monkeypatch)
    compute_reproducibly()
    there = torch.device(device)
    network = build(NetworkSpec(width=8), 1, (8, 8), 3)
    images = DATASET.normalise(DATASET.train.images_NCHW)[::4].to(there)
    labels = torch.rand(len(images), 3, generator=generator(0, "labels")).softmax(1).to(there)
    plan, augment = Plan(epochs=3, lr=0.05, momentum=0.9, batch=5), Augmenter(("crop", "scale", "cutout"), (8, 8))
    states = [initial_state(network, generator(0, "network", index), there) for index in range(networks)]
    begin = stack([parameters for parameters, _ in states]), stack([buffers for _, buffers in states])
    sources = [[generator(0, "training", index) for index in range(networks)] for _ in range(2)]
    expected, _ = PlainTraining(network, plan, augment)(*begin, images, labels, sources[0])
    result, _ = CapturedTraining(network, plan, augment)(*begin, images, labels, sources[1])
    for name, tensor in expected.items():
        torch.testing.assert_close(result[name], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("name", CASES)
def test_real_graphs_give_the_uncaptured_result(name: str) -> None:
    compute_reproducibly()
    there, case = DATASET.to(torch.device("cuda")), CASES[name]
    plain, captured = (
        list(condense(there, case, mode=Mode("cuda", captured=how, chunk=2)))[-1].images_KICHW for how in (False, True)
    )
    moved = (plain - initial(there, case).images_KICHW).norm()
    assert (captured - plain).norm() / moved < 2e-3
