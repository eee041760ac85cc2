"""Sets with soft labels from a teacher: which labels, what is kept, looked up and refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sessions import session
from torch import Tensor

import dsactl
import registry
from dsactl.cli.flags import translate
from dsactl.engine.progress import Progress
from dsactl.expert_pools import fitting
from dsactl.expert_pools.fitting import choose_pool
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.expert_pools.teacher import Teacher
from dsactl.networks.build import build
from dsactl.recipes.recipe import Recipe, Relabelled
from dsactl.runs import default_pool
from dsactl.synthetic import relabelling
from dsactl.synthetic.relabelling import Outcome, relabel, usual_name
from registry.tensors import describe

POOL = "digits-experts-convnet-width8:1"


def experts(**options: Any) -> dsactl.ExpertPool:
    """A pool of two tiny networks."""
    network = dsactl.NetworkSpec(width=8, norm=options.pop("norm", "instance"))
    return dsactl.experts("digits", **{"networks": 2, "epochs": 2, "batch": 512, "network": network, **options})


def naive(pool: dsactl.ExpertPool, index: int, epoch: int, images: Tensor, *, training: bool = False) -> Tensor:
    """The logits of an ordinary module with the weights of a network."""
    network = build(pool.spec, 1, (8, 8), 10)
    parameters, buffers = pool.network(index, epoch)
    network.load_state_dict({**parameters, **buffers})
    with torch.no_grad():
        return network.train(training)(images)  # type: ignore[no-any-return]


class Remarks(Progress):
    """A meter that keeps the remarks."""

    def __init__(self) -> None:
        self.remarks = list[str]()

    def update(self, done: float, total: int, doing: str = "") -> None:
        """Show nothing."""

    def remark(self, text: str) -> None:
        """Keep the remark."""
        self.remarks.append(text)


def close(found: Tensor | None, expected: Tensor) -> bool:
    return found is not None and torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_labels_are_the_softmax_in_evaluation_mode(norm: str) -> None:
    pool, source = experts(norm=norm), dsactl.condense("digits", ipc=2, method="random")
    made = dsactl.relabel(source, experts=pool)
    assert close(made.soft_labels, naive(pool, 0, 2, source.images).softmax(1))
    assert made.soft_labels is not None
    assert made.soft_labels.dtype == torch.float32
    assert torch.equal(made.images, source.images)
    assert torch.equal(made.labels, source.labels)
    if norm == "batch":
        assert not close(made.soft_labels, naive(pool, 0, 2, source.images, training=True).softmax(1))


def test_network_epoch_mean_and_temperature() -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random")

    def labels(**options: Any) -> Tensor | None:
        return dsactl.relabel(source, **options).soft_labels

    logits = [naive(pool, index, 2, source.images) for index in (0, 1)]
    assert close(labels(teacher=1), logits[1].softmax(1))
    assert close(labels(teacher="mean"), (logits[0].softmax(1) + logits[1].softmax(1)) / 2)
    assert close(labels(epoch=0), naive(pool, 0, 0, source.images).softmax(1))
    assert close(labels(temperature=4), (logits[0] / 4).softmax(1))
    assert not close(labels(temperature=4), logits[0].softmax(1))


def test_images_are_labelled_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random")
    monkeypatch.setattr(relabelling, "_BATCH", 3)
    assert close(dsactl.relabel(source).soft_labels, naive(pool, 0, 2, source.images).softmax(1))


def test_with_formation_a_label_is_the_mean_over_the_decoded_images() -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random", formation=2)
    made = dsactl.relabel(source, experts=pool)
    each = naive(pool, 0, 2, source.images).softmax(1)
    assert close(made.soft_labels, each.view(10, 4, 10).mean(1).repeat_interleave(4, 0))
    store = registry.Store()
    assert store.tensors(store.find(registry.parse_reference(made.reference)))["soft_labels"].shape == (10, 10)


def test_the_set_names_its_source_and_its_teacher() -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random")
    made = dsactl.relabel(source.reference, teacher="mean", temperature=2)
    assert made.reference == "digits-random-ipc1-soft:1"
    assert made.recipe == replace(source.recipe, labels=Relabelled(pool.digest, 2, "mean", 2.0))
    assert made.recipe.set_name == "digits-random-ipc1-soft"
    stored = registry.Store().find(registry.parse_reference(made.reference))
    known = stored.manifest.provenance
    assert (known["source"], known["source digest"]) == (source.reference, source.digest)
    assert known["teacher"] == pool.reference == POOL
    assert Recipe.from_dict(stored.manifest.recipe) == made.recipe
    assert "labels" not in source.recipe.to_dict()
    assert stored.picture is not None
    assert "experts" not in known


def test_the_same_again_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random")
    store = registry.Store()
    first = dsactl.relabel(source)
    others = [dsactl.relabel(source, **change) for change in ({"teacher": 1}, {"epoch": 0}, {"temperature": 2})]
    more = dsactl.relabel(dsactl.condense("digits", ipc=1, method="random", seed=1))
    assert [each.reference for each in (*others, more)] == [f"digits-random-ipc1-soft:{n}" for n in (2, 3, 4, 5)]
    monkeypatch.setattr(relabelling, "soft_labels", lambda *_: pytest.fail("labels are computed"))
    assert dsactl.relabel(source).reference == first.reference
    named = dsactl.relabel(source, name="mine")
    assert (named.reference, named.digest) == ("mine:1", first.digest)
    stored = [store.find(registry.parse_reference(each)) for each in (source.reference, pool.reference)]
    again = relabel(store, stored[0], stored[1], Teacher(), session())
    assert again == Outcome(store.find(registry.parse_reference(first.reference)), repeated=True)


def test_other_images_of_the_same_recipe_are_labelled_anew() -> None:
    experts()
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    dsactl.relabel(source)
    stored = store.find(registry.parse_reference(source.reference))
    other = {
        name: array + np.float32(1) if name == "images" else array for name, array in store.tensors(stored).items()
    }
    manifest = stored.manifest.model_copy(update={"tensors": describe(other)})
    store.put(registry.parse_name("other"), other, manifest)
    assert torch.equal(dsactl.relabel("other").images, source.images + 1)


def test_a_damaged_set_is_made_again() -> None:
    experts()
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    first = dsactl.relabel(source)
    file = store.find(registry.parse_reference(first.reference)).file
    file.write_bytes(b"x" + file.read_bytes()[1:])
    assert dsactl.relabel(source).digest == first.digest
    assert dsactl.load(first.reference).digest == first.digest


def test_soft_labels_are_replaced() -> None:
    pool, source = experts(), dsactl.condense("digits", ipc=1, method="random")
    soft = dsactl.relabel(source)
    again = dsactl.relabel(soft, teacher=1)
    assert again.reference == "digits-random-ipc1-soft:2"
    assert close(again.soft_labels, naive(pool, 1, 2, source.images).softmax(1))
    assert again.digest == dsactl.relabel(source, teacher=1).digest


def test_bundled_sets_are_named_without_their_namespace() -> None:
    assert str(usual_name(registry.parse_name("bundled/mnist"))) == "mnist-soft"
    assert str(usual_name(registry.parse_name("you/set"))) == "you/set-soft"
    with pytest.raises(dsactl.Error, match="is too long") as error:
        usual_name(registry.parse_name("a" * 78))
    assert "`name`" in error.value.hint


def changed(store: registry.Store, own_name: str, **dataset: Any) -> registry.StoredSet:
    """The pool again, under another name, said to be of another dataset."""
    stored = store.find(registry.parse_reference(POOL))
    info = stored.manifest.dataset.model_copy(update=dataset)
    return store.put(
        registry.parse_name(own_name), store.tensors(stored), stored.manifest.model_copy(update={"dataset": info})
    )


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"checksum": "1" * 64, "name": "others"}, "it was trained on other images (others) than those of digits"),
        ({"class_names": list("9876543210")}, "its classes have other names, or another order"),
        ({"mean": [0.5]}, "its images are normalised otherwise"),
    ],
)
def test_a_pool_of_another_dataset_is_refused_and_not_chosen(dataset: dict[str, Any], said: str) -> None:
    experts()
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    other = changed(store, "other", **dataset)
    with pytest.raises(dsactl.Error) as error:
        dsactl.relabel(source, experts=other.reference)
    assert error.value.message == f"other:1 does not fit {source.reference}: {said}."
    assert "`experts('digits')`" in error.value.hint
    stored = store.find(registry.parse_reference(source.reference))
    chosen, _ = choose_pool(store, stored, None, Teacher())
    assert chosen is not None
    assert chosen.reference == POOL, "the newest that fits, not the newest"


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("digits@1x16x16", "it is for images of 1×8×8, not 1×16×16"),
        ("digits@classes0-4", "it has 10 classes, not 5"),
    ],
)
def test_a_pool_of_other_sizes_or_classes_is_refused(view: str, said: str) -> None:
    pool, source = experts(), dsactl.condense(view, ipc=1, method="random")
    with pytest.raises(dsactl.Error) as error:
        dsactl.relabel(source, experts=pool)
    assert said in error.value.message


def test_the_pool_with_most_epochs_is_chosen_then_the_newest() -> None:
    experts()
    newer, source = experts(seed=1), dsactl.condense("digits", ipc=1, method="random")
    assert dsactl.relabel(source).recipe.labels == Relabelled(newer.digest, 2, 0, 1.0)
    experts(epochs=1, seed=2)
    assert dsactl.relabel(source).recipe.labels == Relabelled(newer.digest, 2, 0, 1.0)
    usual = experts(network=dsactl.NetworkSpec(), networks=1, epochs=1)
    assert dsactl.relabel(source).recipe.labels == Relabelled(usual.digest, 1, 0, 1.0), "of the default network"


def test_a_pool_with_the_default_settings_is_preferred_to_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = PoolRequest(network=dsactl.NetworkSpec(width=8), networks=2, epochs=2, batch=512)
    monkeypatch.setattr(fitting, "PoolRequest", lambda: usual)
    source, meter = dsactl.condense("digits", ipc=1, method="random"), Remarks()
    experts(seed=1)
    newest = experts(seed=2)
    made = dsactl.relabel(source, progress=meter)
    assert made.recipe.labels == Relabelled(newest.digest, 2, 0, 1.0)
    assert meter.remarks == [
        f"The soft labels are those of {newest.reference}, chosen from 2 pools that fit (2 networks, 2 epochs, "
        "convnet-width8); `experts` names another."
    ]
    default, meter = experts(), Remarks()
    experts(seed=3)
    assert dsactl.relabel(source, progress=meter).recipe.labels == Relabelled(default.digest, 2, 0, 1.0)
    dsactl.relabel(source, experts=newest, progress=meter)
    assert meter.remarks == []


def test_the_name_of_the_source_is_refused() -> None:
    experts()
    source = dsactl.condense("digits", ipc=1, method="random")
    with pytest.raises(dsactl.Error, match="is the name of the set that is relabelled") as refused:
        dsactl.relabel(source, name="digits-random-ipc1")
    assert translate(refused.value.hint) == "Use another --name, such as --name digits-random-ipc1-soft."
    assert [each.version for each in registry.Store().entries()[0] if str(each.name) == "digits-random-ipc1"] == [1]
    soft = dsactl.relabel(source)
    again = dsactl.relabel(soft, teacher=1, name="digits-random-ipc1-soft")
    assert again.reference == "digits-random-ipc1-soft:2", "as without a name"


@pytest.mark.parametrize("given", [None, POOL])
def test_a_damaged_pool_is_refused(given: str | None) -> None:
    experts()
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    file = store.find(registry.parse_reference(POOL)).file
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(registry.CorruptError, match="was modified"):
        dsactl.relabel(source, experts=given)


def test_probabilities_that_are_not_finite_are_refused() -> None:
    experts()
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    stored = store.find(registry.parse_reference(POOL))
    large = {name: np.full_like(array, 1e30) for name, array in store.tensors(stored).items()}
    manifest = stored.manifest.model_copy(update={"tensors": describe(large, registry.EXPERTS)})
    store.put(registry.parse_name("large"), large, manifest)
    with pytest.raises(dsactl.Error, match="The teacher of large:1 gives probabilities that are not finite"):
        dsactl.relabel(source, experts="large")
    with pytest.raises(registry.NotFoundError):
        dsactl.load("digits-random-ipc1-soft")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"teacher": 2}, "has no network 2."),
        ({"teacher": -1}, "`teacher` must be at least 0"),
        ({"teacher": "most"}, "`teacher` must be the number of a network or 'mean', not 'most'"),
        ({"teacher": True}, "`teacher` must be a whole number"),
        ({"epoch": 1}, "has no epoch 1"),
        ({"epoch": 1.5}, "`epoch` must be a whole number"),
        ({"temperature": 0}, "`temperature` must be above 0 and finite, not 0"),
        ({"temperature": float("nan")}, "`temperature` must be above 0 and finite"),
        ({"experts": "nothing"}, "nothing"),
        ({"experts": "digits-random-ipc1"}, "digits-random-ipc1:1 is a set, not a pool of experts"),
        ({"name": "bundled/x"}, "reserved"),
        ({"name": POOL.removesuffix(":1")}, "is the name of a pool of experts"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], said: str) -> None:
    experts()
    source = dsactl.condense("digits", ipc=1, method="random")
    with pytest.raises(dsactl.Error, match=said):
        dsactl.relabel(source, **options)
    with pytest.raises(registry.KindError, match="is a pool of experts, not a set"):
        dsactl.relabel(POOL)


def test_a_teacher_that_a_default_pool_would_not_have_is_refused_before_it_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = dsactl.condense("digits", ipc=1, method="random")
    monkeypatch.setattr(default_pool, "load_source", lambda *_, **__: pytest.fail("the dataset is loaded"))
    for options, said in (({"epoch": 20}, "has no epoch 20"), ({"teacher": 5}, "has no network 5")):
        with pytest.raises(dsactl.Error, match=said):
            dsactl.relabel(source, **options)  # type: ignore[arg-type]


def test_what_would_fail_is_refused_before_a_pool_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = dsactl.condense("digits", ipc=1, method="random"), registry.Store()
    dsactl.experts("digits@classes0-4", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8), name="five")
    monkeypatch.setattr(default_pool, "load_source", lambda *_, **__: pytest.fail("the dataset is loaded"))
    with pytest.raises(registry.ConflictError, match="five is the name of a pool of experts"):
        dsactl.relabel(source, name="five")
    store.find(registry.parse_reference(source.reference)).file.write_bytes(b"")
    with pytest.raises(registry.CorruptError, match="was modified"):
        dsactl.relabel(source)


def test_only_the_set_and_the_pool_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    experts()
    source = dsactl.condense("digits", ipc=1, method="random")
    monkeypatch.setattr("dsactl.data.load._load", lambda *_, **__: pytest.fail("a dataset is loaded"))
    assert dsactl.relabel(source).soft_labels is not None


def test_networks_are_trained_on_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    experts()
    source = dsactl.condense("digits", ipc=1, method="random")
    made = dsactl.relabel(source)
    how: dict[str, Any] = {"networks": 1, "epochs": 3, "network": dsactl.NetworkSpec("mlp"), "device": "cpu"}
    for protocol in ("dsa", "idc"):
        found = dsactl.evaluate(made, protocol, **how)
        assert found.paper is None
        assert found.digest == made.digest
    targets = list[Tensor]()
    monkeypatch.setattr("dsactl.training.sgd._summed_cross_entropy", lambda logits, labels: (
        targets.append(labels), torch.nn.functional.cross_entropy(logits, labels.flatten(0, 1)))[1])  # fmt: skip
    dsactl.evaluate(made, "idc", fresh=True, **how)
    assert all(each.is_floating_point() and each.shape[-1] == 10 for each in targets)
    assert len(targets) == 3


def test_an_older_program_refuses_what_it_would_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 0.1 refuses schema 2 as newer, and knows 1; the digest of plain sets stays what it was."""
    plain = dsactl.condense("digits", ipc=1, method="random")
    tiled = dsactl.condense("digits", ipc=1, method="random", formation=2)
    dsactl.experts("digits", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8))
    soft = dsactl.relabel(plain)
    store = registry.Store()
    versions = [
        store.find(registry.parse_reference(each.reference)).manifest.schema_version for each in (plain, tiled, soft)
    ]
    assert versions == [1, 2, 2]
    monkeypatch.setattr("registry.manifest.NEWEST_SCHEMA", 1)
    for each in (tiled, soft):
        with pytest.raises(registry.StoreError, match=r"newer program \(schema 2\)"):
            dsactl.load(each.reference)
    assert dsactl.load(plain.reference).digest == plain.digest
