"""Which images herding, k-centre and forgetting choose: against plain loops, and on histories made by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import small_dataset
from torch import Tensor, nn
from torch.nn import functional as F

from dsactl.data.dataset import Dataset, ImageSet
from dsactl.errors import RunError, UsageError
from dsactl.methods.coresets import features
from dsactl.methods.coresets.features import class_features
from dsactl.methods.coresets.forgetting import NEVER_LEARNED, History, most_forgotten
from dsactl.methods.coresets.herding import herd
from dsactl.methods.coresets.kcenter import farthest_points
from dsactl.methods.coresets.reference_network import Trained, train_on_whole
from dsactl.methods.work import MethodContext
from dsactl.networks.build import build, initial_state
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request

METHODS = ("herding", "kcenter", "forgetting")


def work(dataset: Dataset, method: str = "herding", **options: object) -> MethodContext:
    request = Request.parse({"dataset": dataset.name, "ipc": 2, "method": method, **options})
    shape = (dataset.channels, *dataset.size)
    recipe = request.resolve(dataset.name, dataset.train.checksum(), shape, mirrored=True, precision="float32")
    return MethodContext(dataset, recipe)


def points(count: int, width: int, kind: str) -> np.ndarray:
    """Random features. Those of whole numbers and a number of rows that is a power of two are computed exactly."""
    source = np.random.default_rng(count * width)
    if kind == "real":
        return source.normal(3, 1, (count, width)).astype(np.float32)
    values = source.integers(-4, 5, (count, width)).astype(np.float32)
    if kind == "duplicates":
        values[count // 2 :] = values[: count // 2]
    if kind == "equal":
        values[:] = values[0]
    return values


CASES = [
    (1, 3, 1, "real"),
    (7, 1, 7, "real"),
    (40, 5, 13, "real"),
    (25, 64, 25, "real"),
    (16, 2, 16, "whole"),
    (32, 3, 32, "duplicates"),
    (64, 8, 20, "duplicates"),
    (8, 4, 8, "equal"),
]


@pytest.mark.parametrize(("count", "width", "ipc", "kind"), CASES)
def test_herding_against_a_plain_loop(count: int, width: int, ipc: int, kind: str) -> None:
    values = points(count, width, kind).astype(np.float64)
    expected: list[int] = []
    for _ in range(ipc):
        best, nearest = -1, np.inf
        for candidate in range(count):
            if candidate in expected:
                continue
            total = np.zeros(width)
            for index in [*expected, candidate]:
                total = total + values[index]
            # Of sums, which are whole where the features are; of means it would be the same, divided by their number.
            distance = ((total - (len(expected) + 1) * values.mean(0)) ** 2).sum()
            if distance < nearest:
                best, nearest = candidate, distance
        expected.append(best)
    chosen = herd(torch.from_numpy(points(count, width, kind)), ipc)
    assert chosen.tolist() == expected
    assert len(set(expected)) == ipc


@pytest.mark.parametrize(("count", "width", "ipc", "kind"), CASES)
def test_k_centre_against_a_plain_loop(count: int, width: int, ipc: int, kind: str) -> None:
    values = points(count, width, kind).astype(np.float64)
    expected = [int(((values - values.mean(0)) ** 2).sum(1).argmin())]
    while len(expected) < ipc:
        best, farthest = -1, -1.0
        for candidate in range(count):
            if candidate in expected:
                continue
            distance = min(((values[candidate] - values[centre]) ** 2).sum() for centre in expected)
            if distance > farthest:
                best, farthest = candidate, distance
        expected.append(best)
    chosen = farthest_points(torch.from_numpy(points(count, width, kind)), ipc)
    assert chosen.tolist() == expected
    assert len(set(expected)) == ipc


def test_duplicates_that_are_not_exact_are_chosen_once_each() -> None:
    """The mean of seven is no binary fraction, so that distances of equal images are only nearly zero."""
    values = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))[torch.arange(21) % 7]
    for choose in (herd, farthest_points):
        assert sorted(choose(values, 21).tolist()) == list(range(21))
    assert len({place % 7 for place in farthest_points(values, 7).tolist()}) == 7


# Right answers over six epochs, and the events that follow from them.
HISTORIES = [
    ("111111", 0),
    ("000000", NEVER_LEARNED),
    ("000001", 0),
    ("100000", 1),
    ("101010", 3),
    ("010101", 2),
    ("110011", 1),
    ("001100", 1),
]


def test_forgetting_events_of_histories_made_by_hand() -> None:
    history = History.empty(len(HISTORIES), torch.device("cpu"))
    for epoch in range(6):
        order = torch.randperm(len(HISTORIES), generator=torch.Generator().manual_seed(epoch))
        right = torch.tensor([answers[epoch] == "1" for answers, _ in HISTORIES])
        for places in torch.split(order, 3):
            history.see(places, right[places])
    assert history.forgotten().tolist() == [events for _, events in HISTORIES]


def test_the_most_forgotten_come_first_and_equals_in_a_drawn_order() -> None:
    events = torch.tensor([1, 0, NEVER_LEARNED, 3, 1, 0, 1, NEVER_LEARNED])

    def chosen(count: int, seed: int) -> list[int]:
        return most_forgotten(events, count, torch.Generator().manual_seed(seed)).tolist()

    orders = [chosen(8, seed) for seed in range(50)]
    for order in orders:
        assert sorted(order[:2]) == [2, 7]
        assert order[2] == 3
        assert sorted(order[3:6]) == [0, 4, 6]
        assert sorted(order[6:]) == [1, 5]
    assert chosen(4, 9) == orders[9][:4]
    for equals in ([2, 7], [0, 4, 6], [1, 5]):
        assert {next(place for place in order if place in equals) for order in orders} == set(equals)


def by_hand(network: nn.Module, images: Tensor) -> Tensor:
    """All layers but the last."""
    match network:
        case nn.Module(layers=layers):
            return layers[:-1](images)
        case nn.Module(classifier=nn.Sequential() as classifier):
            return classifier[:-1](network.features(images).flatten(1))
        case _:
            return network.features(images).flatten(1)


def untrained(spec: NetworkSpec, dataset: Dataset) -> tuple[nn.Module, Trained]:
    """A network with weights of its own, and the same for `class_features`."""
    network = build(spec, dataset.channels, dataset.size, dataset.classes)
    state = initial_state(network, torch.Generator().manual_seed(1))
    network.load_state_dict({name: tensor for part in state for name, tensor in part.items()})
    return network.eval(), Trained(build(spec, 1, dataset.size, dataset.classes), *state, "float32")


@pytest.mark.parametrize("arch", ["convnet", "mlp", "lenet"])
def test_features_are_what_the_last_layer_reads(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "BATCH", 4)
    dataset = small_dataset(per_class=10, side=28)
    network, trained = untrained(NetworkSpec(arch), dataset)
    for label in range(dataset.classes):
        images = dataset.normalise(dataset.train.images_NCHW[dataset.train.labels_N == label])
        expected = by_hand(network, images).detach()
        torch.testing.assert_close(class_features(trained, dataset, label), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["alexnet", "vgg11bn", "resnet18", "resnet18bn_ap"])
def test_the_last_layer_of_the_features_gives_the_logits(arch: str) -> None:
    dataset = small_dataset(per_class=3, side=32)
    network, trained = untrained(NetworkSpec(arch), dataset)
    logits = network(dataset.normalise(dataset.train.images_NCHW[3:6])).detach()
    again = network.get_submodule("classifier")(class_features(trained, dataset, 1)).detach()
    torch.testing.assert_close(again, logits, rtol=1e-3, atol=1e-4)


def test_training_on_the_whole_set_and_its_forgetting_against_a_plain_loop() -> None:
    easy = small_dataset(per_class=30)
    drawn = torch.randint(3, (90,), generator=torch.Generator().manual_seed(0))  # labels that are hard to learn
    dataset = replace(easy, train=ImageSet.from_tensors(easy.train.images_NCHW, drawn, 3))
    job = work(dataset, arch="mlp", strategy="none", batch_train=16, network_lr=0.05, options={"epochs": 8})
    labels, answers = dataset.train.labels_N, torch.zeros(8, 90, dtype=torch.bool)
    network = build(NetworkSpec("mlp"), 1, (8, 8), 3).train()
    network.load_state_dict(initial_state(network, job.generator("whole-network"))[0])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    images = dataset.normalise(dataset.train.images_NCHW)
    for epoch in range(8):
        for chosen in torch.split(torch.randperm(90, generator=job.generator("whole-training", epoch)), 16):
            logits = network(images[chosen])
            answers[epoch, chosen] = logits.argmax(1) == labels[chosen]
            optimiser.zero_grad()
            F.cross_entropy(logits, labels[chosen]).backward()
            optimiser.step()
    events = (answers[:-1] & ~answers[1:]).sum(0)
    expected = torch.where(answers.any(0), events, NEVER_LEARNED)
    assert len(set(expected.tolist())) >= 4, "too little is forgotten, or all learned: the test would say nothing"

    history = History.empty(90, job.device)
    trained = train_on_whole(
        job, lambda places, logits: history.see(places, logits.argmax(1) == labels[places]), vars(history)
    )
    assert history.forgotten().tolist() == expected.tolist()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(trained.parameters[name], parameter.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_test_split_is_not_looked_at(method: str) -> None:
    dataset = small_dataset()
    blank = ImageSet(torch.zeros_like(dataset.test.images_NCHW), dataset.test.labels_N, dataset.test.counts)
    made = [
        find(method).load()(work(seen, method, width=16, options={"epochs": 2}))
        for seen in (dataset, replace(dataset, test=blank))
    ]
    assert torch.equal(made[0].images_NCHW, made[1].images_NCHW)


@pytest.mark.parametrize("method", METHODS)
def test_training_that_cannot_be_done_says_so(method: str) -> None:
    recipe = work(small_dataset(), method, options={"epochs": 0}).recipe
    with pytest.raises(UsageError, match="`epochs` must be at least 1, not 0"):
        recipe.settings.check(recipe)
    with pytest.raises(RunError, match=r"diverged in epoch \d: its loss is no longer finite") as raised:
        find(method).load()(work(small_dataset(), method, arch="mlp", network_lr=1e30))
    assert "`network_lr`" in raised.value.hint
