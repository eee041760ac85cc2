"""Pools of experts in a store: a kind of artifact beside sets."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import NAME, manifest, put, tensors

import registry
from registry.export import export
from registry.manifest import canonical, parse_json
from registry.pool import MAX_TENSORS, check_pool, tensor_name
from registry.tensors import Array, decode, describe, encode
from registry.upkeep import prune, verify

POOL = registry.parse_name("digits-experts-convnet")


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def states(seed: int = 0, networks: int = 2, epochs: tuple[int, ...] = (0, 3)) -> dict[str, Array]:
    """A weight and a counter of each network after each epoch."""
    source = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for network in range(networks):
        for epoch in epochs:
            found[tensor_name(network, epoch, "0.weight")] = source.normal(size=(2, 3)).astype(np.float32)
            found[tensor_name(network, epoch, "1.num_batches")] = np.array(epoch)
    return found


def about(arrays: dict[str, Array], networks: int = 2, epochs: tuple[int, ...] = (0, 3)) -> registry.Manifest:
    return registry.Manifest(
        kind="experts",
        schema_version=2,
        dataset=manifest(tensors()).dataset,
        method="experts",
        recipe={"epochs": 3},
        network="convnet",
        seed=0,
        tensors=describe(arrays, "experts"),
        provenance={},
        pool=registry.Pool(networks=networks, epochs=list(epochs)),
    )


def put_pool(store: registry.Store, seed: int = 0, name: registry.SetName = POOL) -> registry.StoredSet:
    arrays = states(seed)
    return store.put(name, arrays, about(arrays))


def test_a_pool_goes_into_a_store_and_comes_back(store: registry.Store) -> None:
    first, second, again = put_pool(store, 0), put_pool(store, 1), put_pool(store, 0)
    assert [first.reference, second.reference, again.reference] == [f"{POOL}:1", f"{POOL}:2", f"{POOL}:1"]
    for name, array in store.tensors(first).items():
        expected = states(0)[name]
        assert array.shape == expected.shape
        assert np.array_equal(array, expected)
    assert (first.kind, first.manifest.pool) == ("experts", registry.Pool(networks=2, epochs=[0, 3]))
    assert store.find(registry.parse_reference(f"@sha256:{second.digest}")).reference == second.reference
    store.tag(first, "best")
    assert store.find(registry.parse_reference(f"{POOL}:best")) == first
    assert not verify(store).faults


def test_pools_are_listed_apart_from_sets(store: registry.Store) -> None:
    kept, pool = put(store), put_pool(store)
    assert [each.reference for each in store.sets()] == [kept.reference]
    assert [each.reference for each in store.pools()] == [pool.reference]
    entries = {entry.kind: entry for entry in store.entries()[0]}
    assert (entries["set"].networks, list(entries["set"].epochs)) == (0, [])
    assert (entries["experts"].networks, list(entries["experts"].epochs)) == (2, [0, 3])
    # The newest set is a set, whether the cache says so or the files do.
    assert store.newest() == kept
    store.layout.newest.unlink()
    assert store.newest() == kept
    store.remove([kept.place])
    with pytest.raises(registry.NotFoundError, match="has no set"):
        store.newest()


def test_a_name_has_artifacts_of_one_kind(store: registry.Store) -> None:
    put(store)
    put_pool(store)
    with pytest.raises(registry.ConflictError, match="is the name of a set"):
        put_pool(store, name=NAME)
    with pytest.raises(registry.ConflictError, match="is the name of a pool of experts"):
        put(store, name=POOL)
    assert store.versions(NAME) == store.versions(POOL) == [1]


def test_what_needs_a_set_refuses_a_pool(store: registry.Store, tmp_path: Path) -> None:
    pool, kept = put_pool(store), put(store)
    with pytest.raises(registry.KindError, match="is a pool of experts, not a set"):
        pool.check_kind("set")
    with pytest.raises(registry.KindError, match="is a set, not a pool of experts"):
        kept.check_kind("experts")
    for form in ("npz", "png", "folder"):
        with pytest.raises(registry.KindError, match="has no images"):
            export(store, pool, tmp_path / "out", form)
    export(store, pool, tmp_path / "out.safetensors", "safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == pool.file.read_bytes()


def test_verify_finds_a_flipped_byte_and_prune_keeps_what_is_used(store: registry.Store) -> None:
    first, second = put_pool(store, 0), put_pool(store, 1)
    stray = store.layout.blob("0" * 64)
    stray.write_bytes(b"x")
    assert prune(store) == [stray]
    store.remove([first.place])
    assert not first.file.exists()
    assert second.file.exists()
    data = bytearray(second.file.read_bytes())
    data[-1] ^= 1
    second.file.write_bytes(data)
    (fault,) = verify(store).faults
    assert str(second.file) in fault.message


def test_the_json_and_the_digest_of_a_set_have_no_kind() -> None:
    own = manifest(tensors())
    values = own.model_dump(mode="json")
    assert set(values) == {
        "schema_version", "dataset", "method", "recipe", "network", "seed", "tensors", "provenance",
    }  # fmt: skip
    assert values["schema_version"] == 1
    del values["provenance"]
    assert own.digest == hashlib.sha256(canonical(values)).hexdigest()
    assert own.digest == "72008b0afd66bef21fab2556ca5236f117b820eed0f6f0655720e4e13fb163e3"


def test_an_older_program_says_that_it_is_too_old(store: registry.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows schema 1 alone; it checks the schema before anything else, and reads sets as before."""
    pool, kept = put_pool(store), put(store)
    monkeypatch.setattr("registry.manifest.NEWEST_SCHEMA", 1)
    assert store.read(*kept.place) == kept
    with pytest.raises(registry.StoreError, match=r"newer program \(schema 2\)"):
        store.read(*pool.place)
    with pytest.raises(registry.StoreError, match=r"newer program \(schema 2\)"):
        decode(pool.file.read_bytes(), "file")
    entries, faults = store.entries()
    assert [entry.reference for entry in entries] == [kept.reference]
    assert len(faults) == 1
    assert store.newest() == kept
    assert pool.file not in prune(store)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "set"},
        {"schema_version": 1},
        {"pool": None},
        {"pool": {"networks": 3, "epochs": [0, 3]}},
        {"pool": {"networks": 10**9, "epochs": [0, 3]}},
        {"pool": {"networks": 2, "epochs": [3, 0]}},
        {"pool": {"networks": 2, "epochs": [0, 4]}},
        {"pool": {"networks": 4, "epochs": [0]}},
        {"kind": "other"},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, registry.JsonValue]) -> None:
    values = {**about(states()).model_dump(mode="json"), **change}
    with pytest.raises(registry.CorruptError):
        parse_json(registry.Manifest, json.dumps(values), "file")


Change = Callable[[dict[str, Array]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("1.3.0.weight"),
        lambda arrays: arrays.update({"1.3.0.weight": np.zeros((3, 2), np.float32)}),
        lambda arrays: arrays.update({"2.3.0.weight": np.zeros((2, 3), np.float32)}),
        lambda arrays: arrays.update({"01.3.0.weight": np.zeros((2, 3), np.float32)}),
        lambda arrays: arrays.update({"images": np.zeros((2, 3), np.float32)}),
        lambda arrays: arrays.update({"1.3.0.weight": np.zeros((2, 3), np.float64)}),
        lambda arrays: arrays.clear(),
    ],
)
def test_tensors_of_no_pool_are_refused(change: Change) -> None:
    arrays = states()
    change(arrays)
    with pytest.raises(ValueError):  # noqa: PT011  (pydantic's is one)
        about(arrays)


def test_numbers_that_are_not_finite_are_refused() -> None:
    arrays = states()
    arrays["0.3.0.weight"][0, 0] = np.nan
    with pytest.raises(registry.CorruptError, match=r"'0\.3\.0\.weight' .* not finite"):
        decode(encode(arrays, about(arrays)), "file")


def test_a_pool_is_limited_to_what_its_file_can_describe() -> None:
    small = np.zeros(1, np.float32)
    names = [f"layers.{index}.0.shortcut.weight" for index in range(MAX_TENSORS)]
    arrays = {tensor_name(0, 100, name): small for name in names}
    largest = about(arrays, 1, (100,))
    assert len(decode(encode(arrays, largest), "file")[0]) == MAX_TENSORS
    with pytest.raises(ValueError, match="at most 3,000 tensors"):
        check_pool(registry.Pool(networks=1, epochs=[100]), dict.fromkeys([*largest.tensors, "0.100.x"], ("F32", [1])))
