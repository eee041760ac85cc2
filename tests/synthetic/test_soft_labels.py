"""Sets with soft labels: stored, checked, exported, pushed and pulled like any other."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hub.machine import Machine
from samples import manifest, tensors
from torch.nn import functional as F

import registry
from dsactl.engine.random import generator
from dsactl.networks.build import initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.training.sgd import PlainTraining, Plan, stack, unstack
from registry.export import export
from registry.tensors import Array, decode, encode

pytest_plugins = ["hub.fixtures"]

SOFT = np.array([[0.7, 0.3], [1.0, 0.0], [0.25, 0.75], [0.5, 0.5]], dtype=np.float32)


def soft_tensors(soft: Array = SOFT) -> dict[str, Array]:
    return {**tensors(), "soft_labels": soft}


def put(store: registry.Store) -> registry.StoredSet:
    arrays = soft_tensors()
    return store.put(registry.parse_name("soft"), arrays, manifest(arrays), None)


def test_they_are_part_of_the_content(tmp_path: Path) -> None:
    store = registry.Store()
    stored = put(store)
    assert stored.manifest.has_soft_labels
    assert np.array_equal(store.tensors(stored)["soft_labels"], SOFT)
    hard = store.put(registry.parse_name("hard"), tensors(), manifest(tensors()), None)
    assert hard.digest != stored.digest
    assert not hard.manifest.has_soft_labels
    npz = export(store, stored, tmp_path / "a.npz", "npz")
    assert not npz.lost
    assert np.array_equal(np.load(tmp_path / "a.npz")["soft_labels"], SOFT)
    assert export(store, stored, tmp_path / "folder", "folder").lost
    assert export(store, stored, tmp_path / "a.png", "png").lost
    export(store, stored, tmp_path / "a.parquet", "parquet")
    import pandas

    read = pandas.read_parquet(io.BytesIO((tmp_path / "a.parquet").read_bytes()))
    assert np.array_equal(np.stack(read["soft_label"].to_list()), SOFT)
    assert read["label"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "soft",
    [
        SOFT * 0.9,
        SOFT * np.float32([2, -1]),
        np.full_like(SOFT, np.nan),
        np.full_like(SOFT, np.inf),
        SOFT - np.float32([[0.5, -0.5]]),
    ],
)
def test_what_is_no_distribution_is_refused(soft: Array) -> None:
    arrays = soft_tensors(soft)
    with pytest.raises(registry.CorruptError, match="do not sum to one"):
        decode(encode(arrays, manifest(arrays)), "file")


def test_shapes_and_tensors_must_be_those_of_the_manifest() -> None:
    for wrong in (SOFT[:3], SOFT[:, :1], SOFT.astype(np.float64), SOFT[None]):
        with pytest.raises(ValueError, match=r"soft labels|soft_labels|N×K"):
            manifest(soft_tensors(wrong))
    with pytest.raises(registry.CorruptError, match="soft_labels"):
        decode(encode(soft_tensors(), manifest(tensors())), "a file with more than its manifest says")
    with pytest.raises(registry.CorruptError, match="soft_labels"):
        decode(encode(tensors(), manifest(soft_tensors())), "a file with less")


def test_they_go_to_the_hub_and_come_back(machine: Machine, other: Machine, repo: str, tmp_path: Path) -> None:
    stored = put(machine.store)
    machine.run("push", "soft", repo)
    pulled = other.json("pull", repo)
    assert pulled["digest"] == stored.digest
    there = other.store.find(registry.parse_reference(repo))
    assert np.array_equal(other.store.tensors(there)["soft_labels"], SOFT)
    assert "soft: a distribution over the classes per image" in other.run("show", repo).stdout
    folder = tmp_path / "folder"
    machine.run("push", "soft", repo, "--dry-run", "--out", str(folder))
    import datasets

    read = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert np.allclose(np.array(read["soft_label"]), SOFT)
    assert read.features["label"].names == ["a", "ö"]
    # Words that versions before 4 know too.
    stated = pq.read_schema(folder / "data" / "train.parquet").metadata[b"huggingface"]
    assert json.loads(stated)["info"]["features"]["soft_label"]["_type"] == "Sequence"
    assert "- name: soft_label\n    sequence: float32" in (folder / "README.md").read_text()


@pytest.mark.parametrize("networks", [1, 2])
def test_networks_are_trained_on_them(networks: int) -> None:
    """Compare one step of plain SGD on soft labels with the gradient of −Σ p log q computed by hand."""
    network = structure(NetworkSpec("mlp"), 1, (8, 8), 2)
    source = torch.Generator().manual_seed(0)
    images, soft = torch.randn(4, 1, 8, 8, generator=source), torch.from_numpy(SOFT)
    states = [initial_state(network, generator(0, "n", index)) for index in range(networks)]
    after, _ = PlainTraining(network, Plan(1, 0.1))(
        stack([parameters for parameters, _ in states]),
        stack([buffers for _, buffers in states]),
        images,
        soft,
        [generator(0, "t", index) for index in range(networks)],
    )
    for index, (parameters, _) in enumerate(states):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
        logits = torch.func.functional_call(network, leaves, (images,))
        loss = -(soft * F.log_softmax(logits, 1)).sum(1).mean()
        gradient = torch.autograd.grad(loss, list(leaves.values()))
        for (name, before), slope in zip(parameters.items(), gradient, strict=True):
            torch.testing.assert_close(unstack(after, index)[name], before - 0.1 * slope)
