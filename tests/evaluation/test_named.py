"""Named protocols: what each means for a set, what is recorded, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from reference import small_dataset
from sessions import session

import dsactl
import registry
from dsactl.augmentation.composed import ComposedAugmenter
from dsactl.errors import DataError, KeywordError, UnknownNameError, UsageError
from dsactl.evaluation.evaluate import _paper, evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.resolve import augmentation_of, evaluation_key, resolve_networks
from dsactl.evaluation.task import Networks, training_on
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes import methods
from dsactl.recipes.methods import Method
from dsactl.recipes.recipe import Request
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.cuda_graph import TrainingWithFallback
from dsactl.training.protocols import NAMED
from dsactl.training.schedule import Schedule
from dsactl.training.sgd import PlainTraining

CPU = torch.device("cpu")
DATASET = small_dataset(per_class=10)
MLP = NetworkSpec("mlp")


def made(method: str = "random", **options: object) -> SyntheticSet:
    request = Request.parse({"dataset": "small", "ipc": 2, "method": method, **options})
    recipe = request.resolve("small", DATASET.train.checksum(), (1, 8, 8), mirrored=True, precision="float32")
    images = torch.cat([DATASET.draw(label, 2, torch.Generator().manual_seed(0)) for label in range(3)])
    labels = torch.arange(3).repeat_interleave(2)
    return SyntheticSet(images, labels, DATASET.class_names, DATASET.mean, DATASET.std, recipe, "d" * 64, "small:1")


def networks(synthetic: SyntheticSet, **options: object) -> Networks:
    return resolve_networks(synthetic, DATASET, Protocol(MLP, precision="float32", **options), CPU)  # type: ignore[arg-type]


def key(synthetic: SyntheticSet, **options: object) -> dict[str, object]:
    protocol = Protocol(MLP, precision="float32", **options)  # type: ignore[arg-type]
    return evaluation_key(resolve_networks(synthetic, DATASET, protocol, CPU), protocol, CPU).to_dict()


def test_idc_is_as_published() -> None:
    found = networks(made(), name="idc")
    plan = found.plan
    assert (plan.epochs, plan.batch, plan.cutmix) == (1000, 64, 0.5)
    assert (plan.lr, plan.momentum, plan.weight_decay) == (0.01, 0.9, 5e-4)
    assert plan.schedule == Schedule((666, 833), 5, resets_momentum=False)
    assert found.augment == ComposedAugmenter(("color", "crop", "flip", "scale", "rotate"), (8, 8))  # type: ignore[arg-type]
    assert networks(made(strategy="none"), name="idc").plan.epochs == 1000
    assert networks(made(), name="idc", epochs=1500).plan.schedule.at == (1000, 1250)
    assert networks(made(), name="idc", epochs=1).plan.schedule.at == ()
    named = augmentation_of(made(), Protocol(name="idc", strategy="crop_cutout"))[0]
    assert named == "idc crop cutout", "kinds that are named are all used"


@pytest.mark.parametrize(
    ("dataset", "ipc", "formation", "cutmix", "has_cutout"),
    [
        ("mnist", 1, 2, 0.0, False),
        ("mnist@validation", 10, 3, 0.0, False),
        ("mnist", 1, 1, 0.5, False),
        ("svhn", 1, 1, 0.0, True),
        ("svhn", 1, 2, 0.5, False),
        ("svhn", 10, 1, 0.5, False),
        ("fashionmnist", 1, 2, 0.5, False),
    ],
)
def test_idc_has_no_cutmix_where_its_authors_leave_it_out(
    dataset: str, ipc: int, formation: int, cutmix: float, has_cutout: bool
) -> None:
    recipe = replace(made().recipe, dataset=dataset, ipc=ipc, formation=formation)
    chosen = replace(made(), recipe=recipe)
    assert networks(chosen, name="idc").plan.cutmix == cutmix
    assert networks(chosen, name="idc", cutmix=0.25).plan.cutmix == 0.25
    assert ("cutout" in augmentation_of(chosen, Protocol(name="idc"))[0].split()) == has_cutout
    assert Protocol().resolve(recipe) == NAMED["dsa"], "of no other protocol"
    labels = next(chosen.batches(protocol="idc"))[1]
    assert labels.is_floating_point() == (cutmix > 0), "mixed labels"


def test_steps_with_cutmix_are_not_captured() -> None:
    cuda = torch.device("cuda")
    for name, device, kind in (
        ("idc", cuda, PlainTraining),
        ("dsa", cuda, TrainingWithFallback),
        ("dsa", CPU, PlainTraining),
    ):
        found = networks(made(), name=name)
        for augment in (found.augment, None):
            assert type(training_on(device, found.structure(), found.plan, augment)) is kind


def test_mtt_is_dsa_at_a_given_rate() -> None:
    theirs, ours = networks(made(), name="mtt", lr=0.003), networks(made())
    assert theirs.plan == replace(ours.plan, lr=0.003)
    assert theirs.augment == ours.augment


def test_dc_is_the_strategy_dc() -> None:
    for name in ("small", "mnist"):
        chosen = replace(made(), recipe=replace(made().recipe, dataset=name))
        for options in ({}, {"epochs": 7}):
            assert key(chosen, name="dc", **options) == key(chosen, strategy="dc", **options)
        assert augmentation_of(chosen, Protocol(name="dc"))[0] == ("dc" if name == "mnist" else "none")


def test_numbers_override_those_of_a_protocol() -> None:
    plan = networks(made(), name="idc", lr=0.1, momentum=0.5, weight_decay=0.0, batch=3).plan
    assert networks(made(), cutmix=0.2).plan.cutmix == 0.2
    assert (plan.lr, plan.momentum, plan.weight_decay, plan.batch, plan.cutmix) == (0.1, 0.5, 0.0, 3, 0.5)


def test_a_set_is_evaluated_by_the_protocol_of_its_method(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Protocol().resolve(made().recipe) == NAMED["dsa"]
    assert Protocol().resolve(made("dc").recipe) == NAMED["dc"]
    assert Protocol().resolve(made("dc", strategy="crop").recipe) == NAMED["dsa"]
    gone = replace(made().recipe, method="of-a-package-that-is-gone")
    assert Protocol().resolve(gone) == NAMED["dsa"]
    find = methods.find

    def with_others(name: str) -> Method:
        return replace(find("random"), protocol=name) if name in ("idc", "nonsense") else find(name)

    monkeypatch.setattr(methods, "find", with_others)
    of_idc = replace(made(), recipe=replace(made().recipe, method="idc"))
    assert Protocol().resolve(of_idc.recipe) == NAMED["idc"]
    assert Protocol(name="dsa").resolve(of_idc.recipe) == NAMED["dsa"]
    fast = Protocol(MLP, networks=1, epochs=1)
    for name, own in ((None, True), ("idc", True), ("dsa", False)):
        assert evaluate(of_idc, DATASET, replace(fast, name=name), session()).own_augmentation is own
    for name, own in ((None, True), ("idc", False), ("dsa", True)):
        assert evaluate(made(), DATASET, replace(fast, name=name), session()).own_augmentation is own
    with pytest.raises(UnknownNameError, match="Unknown protocol 'nonsense'"):
        evaluate(replace(made(), recipe=replace(made().recipe, method="nonsense")), DATASET, fast, session())


def test_keys_of_dsa_and_dc_have_what_they_always_had() -> None:
    common = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "batch": 256, "precision": "float32", "seed": 0}
    for synthetic, options in ((made(), {}), (made("dc"), {}), (made(), {"name": "dsa"}), (made(), {"name": "dc"})):
        assert key(synthetic, **options)["protocol"] == common  # type: ignore[arg-type]
    assert key(made(), name="dsa") == key(made())
    assert set(key(made())) == {
        *("digest", "network", "epochs", "augmentation", "protocol", "test_images", "test_checksum", "device"),
        *("program", "torch", "native", "normalisation", "revision"),
    }


def test_all_that_decides_is_in_the_key() -> None:
    common = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "precision": "float32", "seed": 0}
    idc = {"name": "idc", "schedule": "lr / 5 before epochs 4, 5; momentum kept", "cutmix": 0.5, "batch": 64}
    assert key(made(), name="idc", epochs=6)["protocol"] == {**common, **idc}
    mtt = {"name": "mtt", "batch": 256}
    assert key(made(), name="mtt", lr=0.01, epochs=6)["protocol"] == {**common, **mtt}


def test_a_result_states_its_protocol_and_is_found_again() -> None:
    condensed = dsactl.condense("digits", ipc=1, method="random")
    first = dsactl.evaluate(condensed, "idc", networks=2, epochs=5, network=MLP, device="cpu")
    assert first.protocol["name"] == "idc"
    assert not first.repeated
    usual = dsactl.evaluate(condensed, networks=2, epochs=5, network=MLP, device="cpu")
    assert "name" not in usual.protocol
    assert not usual.repeated
    given = Protocol(MLP, 2, 5, name="idc")
    again = dsactl.evaluate(condensed, given, device="cpu")
    assert (again.repeated, again.accuracies, again.protocol) == (True, first.accuracies, first.protocol)
    records = registry.Store().evaluations(condensed.digest)
    assert [record["protocol"].get("name") for record in records] == ["idc", None]  # type: ignore[union-attr]
    whole = dsactl.evaluate_whole("digits", "idc", networks=1, epochs=1, network=MLP, device="cpu")
    assert (whole.protocol["name"], whole.protocol["batch"]) == ("idc", 64)


def test_soft_labels_are_trained_on_with_cutmix() -> None:
    soft = torch.nn.functional.one_hot(made().labels, 3).float()
    fast = Protocol(MLP, networks=2, epochs=20, name="idc", precision="float32")
    hard, same = (evaluate(each, DATASET, fast, session()) for each in (made(), replace(made(), soft_labels=soft)))
    assert same.accuracies == hard.accuracies


def test_the_paper_s_figures_are_for_the_paper_s_protocol() -> None:
    mnist = dsactl.load("mnist-dsa-convnet-ipc1:1")
    for protocol in (Protocol(), Protocol(name="dsa"), Protocol(name="dsa", lr=0.01)):
        assert _paper(mnist, protocol, "convnet") == (88.7, 0.6)
    for protocol in (Protocol(name="idc"), Protocol(name="dc"), Protocol(name="mtt", lr=0.01), Protocol(lr=0.1)):
        assert _paper(mnist, protocol, "convnet") is None
    for method in ("random", "herding", "forgetting"):
        assert Protocol(name="dc").is_of(method)
        assert not any(Protocol(name=name).is_of(method) for name in ("dsa", "idc", "mtt"))
        assert not Protocol(name="idc", strategy="dc").is_of(method)
        assert not Protocol(name="dc", epochs=1000).is_of(method)
    assert Protocol(name="dc").is_of("dc")
    assert not Protocol(name="dc").is_papers


@pytest.mark.parametrize(
    ("call", "kind", "message", "hint"),
    [
        (lambda: Protocol(name="idcs"), UnknownNameError, "Unknown protocol 'idcs'.", "Did you mean 'idc'"),
        (lambda: Protocol(name=""), UnknownNameError, "Unknown protocol ''.", "Known: dc, dsa, idc, mtt."),
        (
            lambda: dsactl.evaluate(made(), "dca", networks=2),
            UnknownNameError,
            "Unknown protocol 'dca'.",
            "Did you mean",
        ),
        (
            lambda: dsactl.evaluate(made(), "idc", name="dsa"),
            KeywordError,
            "Both a protocol and `name` are given.",
            "",
        ),
        (
            lambda: evaluate(made(), DATASET, Protocol(name="mtt"), session()),
            UsageError,
            "The protocol 'mtt' trains with a learning rate that was learned with the set, and small:1 has none.",
            'Use `lr=0.01` or another rate, or `protocol="dsa"`.',
        ),
        (
            lambda: evaluate(
                replace(made(), soft_labels=torch.full((6, 4), 0.25)), DATASET, Protocol(name="idc"), session()
            ),
            DataError,
            "The soft labels of small:1 are 6×4 numbers, not 6×3.",
            "Give each image a distribution over the 3 classes",
        ),
    ],
)
def test_refusals(call: Callable[[], object], kind: type[dsactl.Error], message: str, hint: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.message == message
    assert hint in caught.value.hint
