"""The bundled sets: intact, and usable by name."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
import torch
from samples import put

import dsactl
import registry
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.bundled import bundled, evaluations, find

Program = Callable[..., CompletedProcess[str]]
PAPERS = {"mnist-dsa-convnet-ipc1", "fashionmnist-dsa-convnet-ipc1", "cifar10-dsa-convnet-ipc1"}
NAMES = PAPERS | {
    "fashionmnist-dance-convnet-ipc1-formation2",
    "fashionmnist-dance-convnet-ipc10-formation2",
    "cifar10-dance-convnet-ipc1-formation2",
    "cifar10-dance-convnet-ipc10-formation2",
}


def test_every_one_is_whole_and_evaluated_those_of_dsa_at_the_paper_s_scale() -> None:
    sets, faults = bundled().scan()
    assert not faults
    assert {str(stored.name) for stored in sets} >= NAMES
    for stored in sets:
        images, labels = (bundled().tensors(stored)[name] for name in ("images", "labels"))
        assert len(images) == len(labels)
        papers = stored.name.name in PAPERS
        assert Recipe.from_dict(stored.manifest.recipe).is_papers is papers
        assert stored.picture is not None
        assert stored.picture.read_bytes().startswith(b"\x89PNG")
        records = evaluations(stored, registry.Store())
        networks = 20 if papers else 5
        assert any(record["n"] == networks and record["epochs"] == 1000 for record in records), stored.reference
    whole = sum(path.stat().st_size for path in bundled().home.rglob("*") if path.is_file())
    assert whole < 25e6


def test_load_and_show_take_their_names(program: Program) -> None:
    condensed = dsactl.load("mnist-dsa-convnet-ipc1:1")
    assert condensed.images.shape == (10, 1, 28, 28)
    assert torch.equal(condensed.labels, torch.arange(10))
    known = f"bundled/mnist-dsa-convnet-ipc1:1, 10×1×28×28, @sha256:{condensed.digest[:12]}"
    assert repr(condensed) == f"SyntheticSet({known})"
    assert dsactl.load(f"@sha256:{condensed.digest}").digest == condensed.digest
    listed = json.loads(program("ls", "--bundled", "--json").stdout)
    assert {each["reference"].partition(":")[0] for each in listed} == {f"bundled/{name}" for name in NAMES}
    assert all(each["evaluations"] for each in listed)
    shown = program("show", "cifar10-dsa-convnet-ipc1")
    assert shown.returncode == 0
    assert "28.8 ± 0.7" in shown.stdout, "the paper's figure beside ours"
    assert not registry.default_home().exists(), "reading writes nothing"
    missing = program("show", "mnist-dsa-convnet-ipc2")
    assert missing.returncode == 1
    assert "There is no set 'mnist-dsa-convnet-ipc2'" in missing.stderr
    with pytest.raises(registry.NotFoundError, match="There is no set 'bundled/mnist'") as refusal:
        find("bundled/mnist", registry.Store())
    assert "bundled/mnist-dsa-convnet-ipc1" in refusal.value.hint


def test_a_set_of_one_s_own_comes_first() -> None:
    store = registry.Store()
    _, theirs = find("mnist-dsa-convnet-ipc1:1", store)
    tensors = bundled().tensors(theirs)
    manifest = theirs.manifest.model_copy(update={"seed": 7})
    mine = store.put(registry.parse_name("mnist-dsa-convnet-ipc1"), tensors, manifest)
    where, found = find("mnist-dsa-convnet-ipc1", store)
    assert (where, found.digest) == (store, mine.digest)
    assert found.digest != theirs.digest
    with pytest.raises(registry.NotFoundError):
        find("mnist-dsa-convnet-ipc1:9", store)
    where, found = find("bundled/mnist-dsa-convnet-ipc1:1", store)
    assert (where.home, found.digest) == (bundled().home, theirs.digest)
    assert found.reference == theirs.reference == "bundled/mnist-dsa-convnet-ipc1:1"
    where, found = find(f"@sha256:{theirs.digest}", store)
    assert (where.home, found.digest) == (bundled().home, theirs.digest)


def test_what_is_measured_on_them_is_kept_in_the_user_s_store() -> None:
    store = registry.Store()
    _, theirs = find("mnist-dsa-convnet-ipc1:1", store)
    before = evaluations(theirs, store)
    store.add_evaluation(theirs.digest, {"mean": 1.0, "created": "2026-01-01"})
    assert evaluations(theirs, store) == [*before, {"mean": 1.0, "created": "2026-01-01"}]


def test_their_namespace_is_theirs_alone() -> None:
    name = "bundled/mnist-dsa-convnet-ipc1"
    for refused in (
        lambda: dsactl.condense("digits", ipc=1, method="random", name=name),
        lambda: dsactl.pull("Bundled/x"),
        lambda: dsactl.pull("user/x", name=name),
    ):
        with pytest.raises(registry.BadNameError, match="reserved for dsactl"):
            refused()
    store = registry.Store()
    _, theirs = find(name, store)
    put(store, 0, registry.parse_name(name))  # as an earlier version may have done
    assert find(name, store)[1].digest == theirs.digest
