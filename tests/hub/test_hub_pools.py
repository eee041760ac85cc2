"""Pools of experts go to a Hub and come back."""

from pathlib import Path

import numpy as np
import pytest

import dsactl
import registry
from hub.machine import NAME, Machine
from registry.tensors import describe

pytest_plugins = ["hub.fixtures"]
POOL = "digits-experts-convnet"


def add_pool(machine: Machine, seed: int = 0) -> registry.StoredSet:
    """Store a pool of two networks of one weight."""
    source = np.random.default_rng(seed)
    tensors = {
        f"{network}.{epoch}.weight": source.normal(size=3).astype(np.float32) for network in (0, 1) for epoch in (0, 9)
    }
    manifest = registry.Manifest(
        kind="experts",
        schema_version=2,
        dataset=machine.add().manifest.dataset,
        method="experts",
        recipe={"epochs": 9},
        network="convnet",
        seed=seed,
        tensors=describe(tensors, "experts"),
        provenance={"program": "dsactl 0"},
        pool=registry.Pool(networks=2, epochs=[0, 9]),
    )
    return machine.store.put(registry.parse_name(POOL), tensors, manifest)


def test_a_pool_goes_round(machine: Machine, other: Machine, repo: str) -> None:
    stored = add_pool(machine)
    pushed = machine.json("push", POOL, repo, "--licence", "mit")
    assert (pushed["outcome"], pushed["version"], pushed["digest"]) == ("pushed", 1, stored.digest)
    pulled = other.run("pull", repo)
    assert f"Next: dsactl show {repo}:1" in pulled.stderr
    (there,) = other.store.pools()
    assert (there.reference, there.digest) == (f"{repo}:1", stored.digest)
    assert there.file.read_bytes() == stored.file.read_bytes()
    assert machine.json("push", POOL, repo)["outcome"] == "unchanged"
    assert other.store.sets() == []


def test_a_repository_has_one_kind(machine: Machine, repo: str) -> None:
    add_pool(machine)
    machine.run("push", NAME, repo)
    second = add_pool(machine, 1)
    said = machine.run("push", second.reference, repo, code=1).stderr
    assert "is the repository of a set" in said
    add_pool(machine)
    machine.run("push", f"{POOL}:1", f"{repo}-pool")
    assert "other content" in machine.run("push", NAME, f"{repo}-pool", code=1).stderr
    machine.add(1)
    assert "is the repository of a pool of experts" in machine.run("push", NAME, f"{repo}-pool", code=1).stderr


def test_the_card_of_a_pool(machine: Machine, repo: str, tmp_path: Path) -> None:
    add_pool(machine)
    machine.run("push", POOL, repo, "--dry-run", "--out", str(tmp_path / "out"), "--licence", "mit")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"README.md", "set.safetensors", "manifest.json"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license: mit" in card
    assert "viewer: false" in card
    assert f'hub.pull(registry.Store(), "{repo}", "v1")' in card
    assert f'dsactl.load_experts("{repo}:1")' in card
    assert "pool.network(0, 9)" in card


def test_a_pulled_pool_is_not_loaded_as_a_set(machine: Machine, other: Machine, repo: str) -> None:
    add_pool(machine)
    machine.run("push", POOL, repo)
    other.run("pull", repo)
    with pytest.raises(dsactl.Error, match="is a pool of experts, not a set"):
        dsactl.load(repo, other.store)
