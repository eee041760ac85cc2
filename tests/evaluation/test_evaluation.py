import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference import small_dataset, write_folder
from sessions import session

import dsactl
import registry
from dsactl.augmentation.packed import Augmenter
from dsactl.data.load import load_dataset
from dsactl.engine.device import capabilities, resolve_precision
from dsactl.engine.progress import Progress
from dsactl.errors import DataError, UsageError
from dsactl.evaluation.evaluate import _paper, evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.task import Networks, train_and_test
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, prepare
from dsactl.runs.run import execute
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.sgd import Plan

CPU = torch.device("cpu")
DATASET = small_dataset(per_class=30)
FAST = Protocol(NetworkSpec(width=16), networks=3, epochs=60)


def real_set(method: str = "random", **options: object) -> SyntheticSet:
    """A set of real images, as if a method had made it."""
    request = Request.parse({"dataset": "small", "ipc": 2, "method": method, **options})
    recipe = request.resolve("small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision="float32")
    images = torch.cat([DATASET.draw(label, 2, torch.Generator().manual_seed(0)) for label in range(3)])
    labels = torch.arange(3).repeat_interleave(2)
    return SyntheticSet(images, labels, DATASET.class_names, DATASET.mean, DATASET.std, recipe, "d" * 64, "small:1")


def test_networks_learn_and_the_result_is_reproducible() -> None:
    first = evaluate(real_set(), DATASET, FAST, session())
    assert first.n == 3
    assert first.mean > 60  # chance is 33
    assert first.protocol == {
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch": 256,
        "precision": resolve_precision("auto", CPU),
        "seed": 0,
    }
    assert first.mean == pytest.approx(sum(first.accuracies) / 3)
    assert first.std == pytest.approx((sum((a - first.mean) ** 2 for a in first.accuracies) / 3) ** 0.5)
    # After two epochs the networks are still apart.
    protocols = [replace(FAST, epochs=2, seed=seed) for seed in (0, 0, 1)]
    early, again, other = (evaluate(real_set(), DATASET, protocol, session()).accuracies for protocol in protocols)
    assert early == again != other


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On several, float sums come in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", [NetworkSpec(width=16), NetworkSpec("mlp")], ids=["convnet", "mlp"])
@pytest.mark.usefixtures("one_thread")
def test_a_network_s_result_does_not_depend_on_how_many_there_are(network: NetworkSpec, precision: str) -> None:
    """Where so few images let them be trained side by side."""
    if precision == "bfloat16" and capabilities().get("amx_bf16"):
        pytest.skip("which kernels AMX takes for how many networks was not tried")
    made, plan = dsactl.condense("digits", ipc=1, method="random"), Plan(20, 0.01, 0.9, 5e-4, precision=precision)
    digits, augment = load_dataset("digits"), Augmenter(made.strategy, (8, 8))
    networks = Networks(made, digits, network.resolve(1, (8, 8)), plan, augment, 0)
    assert networks.side_by_side(CPU) > 8
    reached = [
        [
            accuracy
            for first in range(0, 8, size)
            for accuracy, _ in train_and_test(networks, range(first, min(first + size, 8)), "cpu", Progress())
        ]
        for size in (8, 3, 1)
    ]
    assert reached[0] == reached[1] == reached[2]
    assert len({*reached[0]}) > 2


def test_the_protocol_follows_the_method() -> None:
    dsa = evaluate(real_set("dsa", strategy="crop_flip"), DATASET, replace(FAST, epochs=2), session())
    assert dsa.augmentation == "dsa crop flip"
    dc = evaluate(real_set("dc"), DATASET, replace(FAST, epochs=2), session())
    assert dc.augmentation == "none"
    assert evaluate(real_set("dc"), DATASET, replace(FAST, epochs=None, networks=1), session()).epochs == 300
    forced = evaluate(real_set("dc"), DATASET, replace(FAST, epochs=2, strategy="rotate"), session())
    assert forced.augmentation == "dsa rotate"
    for name in ("mnist", "mnist@validation"):
        digits = replace(real_set("dc"), recipe=replace(real_set("dc").recipe, dataset=name))
        assert evaluate(digits, DATASET, replace(FAST, epochs=2), session()).augmentation == "dc"


def test_any_set_can_be_evaluated_as_dc_s_are() -> None:
    """As the coresets were whose figures the paper takes from DC's."""
    made = real_set("random")
    dc = evaluate(made, DATASET, replace(FAST, epochs=None, networks=1, strategy="dc"), session())
    assert (dc.augmentation, dc.epochs) == ("none", 300)
    mnist = replace(made, recipe=replace(made.recipe, dataset="mnist"))
    assert evaluate(mnist, DATASET, replace(FAST, epochs=2, strategy="dc"), session()).augmentation == "dc"
    for method in ("random", "herding", "forgetting"):
        assert Protocol(strategy="dc").is_of(method)
        assert not Protocol().is_of(method)
        assert not Protocol(strategy="dc", epochs=1000).is_of(method)
    for method in ("dsa", "dc"):
        assert Protocol().is_of(method)
        assert not Protocol(strategy="dc").is_of(method)


def test_the_newest_set_is_not_a_study_s() -> None:
    own = dsactl.condense("digits", ipc=1, method="random")
    store = registry.Store()
    job = prepare(Request("digits", 2, "random")).within(STUDIES)
    execute(job, session(store))
    assert store.newest().reference == "studies/digits-random-ipc2:1"
    assert dsactl.evaluate(networks=1, epochs=1).reference == own.reference


def test_what_a_set_was_made_for_is_known_from_what_it_was_tried_with() -> None:
    made = real_set("random")
    assert evaluate(made, DATASET, FAST, session()).own_augmentation
    assert not evaluate(made, DATASET, replace(FAST, strategy="none"), session()).own_augmentation
    assert evaluate(real_set("dc"), DATASET, replace(FAST, strategy="none"), session()).own_augmentation


def test_batch_norm_is_evaluated_on_its_twin() -> None:
    made = real_set("dsa", norm="batch", width=8)
    twin = evaluate(made, DATASET, Protocol(networks=1, epochs=1), session())
    assert (twin.network, twin.twin) == ("convnet-width8", True)
    asked = evaluate(made, DATASET, Protocol(NetworkSpec(width=8, norm="batch"), 1, 3), session())
    assert (asked.network, asked.twin) == ("convnet-width8-batch", False)


def test_another_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="are not those that small:1 was made from"):
        evaluate(real_set(), small_dataset(per_class=29), FAST, session())
    with pytest.raises(DataError, match="different shapes"):
        evaluate(real_set(), small_dataset(side=10), FAST, session())
    with pytest.raises(UsageError, match="`networks` must be at least 1"):
        Protocol(networks=0)
    with pytest.raises(UsageError, match="`epochs` must be at least 1"):
        Protocol(epochs=0)


def test_condensed_digits_beat_random_ones() -> None:
    """The whole path from Python, on real data: condense, store, load, evaluate. By some thirty points: 3 seconds."""
    made = dsactl.condense("digits", ipc=1, iterations=40, width=64)
    chosen = dsactl.condense("digits", ipc=1, method="random")
    protocol = Protocol(NetworkSpec(width=64), networks=3, epochs=100)
    ours, theirs = dsactl.evaluate(made, protocol), dsactl.evaluate(chosen.reference, protocol)
    assert ours.mean > theirs.mean + 3
    assert ours.paper is None
    loaded = dsactl.load("digits-dsa-convnet-width64-ipc1")
    assert torch.equal(loaded.images, made.images)
    assert loaded.digest == made.digest == ours.digest


def test_how_a_folder_is_read_is_for_a_folder_that_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    made = dsactl.condense(folder, ipc=1, method="random", test_fraction=0.5)
    fast = Protocol(NetworkSpec(width=8), networks=1, epochs=1)
    with pytest.raises(UsageError, match="Without `data`, `test_fraction` and `split_seed` would have no effect"):
        dsactl.evaluate(made, fast, test_fraction=0.5, split_seed=0)
    assert dsactl.evaluate(made, fast, data=folder, test_fraction=0.5, device="cpu").n == 1


def test_a_loaded_set_is_ready_to_train_on() -> None:
    made = dsactl.condense("digits", ipc=2, method="random", seed=3)
    assert len(made) == 20
    assert made.class_names == tuple("0123456789")
    batches = list(made.batches(epochs=2, batch_size=15, seed=1))
    assert [len(labels) for _, labels in batches] == [15, 5, 15, 5]
    assert sorted(torch.cat([labels for _, labels in batches[:2]]).tolist()) == made.labels.tolist()
    again = list(made.batches(epochs=2, batch_size=15, seed=1))
    assert all(
        torch.equal(a, b) for one, two in zip(batches, again, strict=True) for a, b in zip(one, two, strict=True)
    )
    digits = load_dataset("digits")
    torch.testing.assert_close(made.normalise(digits.test.images_NCHW), digits.normalise(digits.test.images_NCHW))
    assert made.pixels().min() >= -1e-6
    assert made.pixels().max() <= 1 + 1e-6
    rows = {row.numpy().tobytes() for row in digits.train.images_NCHW.flatten(1)}
    assert all((image * 255).round().byte().flatten().numpy().tobytes() in rows for image in made.pixels())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("networks", [0, 1001]),
        ("epochs", [0]),
        ("lr", [0.0, -1.0, math.nan, math.inf]),
        ("momentum", [-0.1, 1.0, math.nan]),
        ("cutmix", [-0.1, 1.1, math.nan]),
        ("weight_decay", [-1e-4, math.nan, math.inf]),
        ("batch", [0, -5]),
        ("strategy", ["swirl"]),
        ("precision", ["float16", ""]),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=name if name != "strategy" else "swirl") as caught:
            Protocol(**{name: value})
        assert str(value) in caught.value.message
    assert Protocol(lr=1e-30, momentum=0, weight_decay=0, batch=1, precision="bfloat16").batch == 1


def test_a_part_of_a_set_is_not_held_against_the_paper() -> None:
    made = dsactl.load("mnist-dsa-convnet-ipc1:1")
    assert _paper(made, Protocol(), "convnet") == (88.7, 0.6)
    assert _paper(made.part(torch.arange(5)), Protocol(), "convnet") is None
