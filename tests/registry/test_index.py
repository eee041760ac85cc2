"""The fast list of what a store holds."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from samples import NAME, OTHER, find, put

import registry
from registry.files import write_atomically
from registry.upkeep import prune, verify


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def age(store: registry.Store) -> None:
    """Make every file old enough for the index to believe its time."""
    for path in [*store.home.rglob("*"), store.home]:
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


def test_the_index_says_what_the_files_say(store: registry.Store) -> None:
    put(store, 0)
    stored = put(store, 1)
    store.add_evaluation(stored.digest, {"mean": 50.0, "std": 1.0, "n": 2, "network": "convnet", "created": "2"})
    for _ in range(3):
        age(store)
        found, faults = store.entries()
        assert not faults
        assert [entry.reference for entry in found] == [each.reference for each in store.sets()]
        last = found[-1]
        assert (last.digest, last.shape, last.classes, last.size) == (stored.digest, [4, 1, 3, 3], 2, stored.size)
        assert [each["mean"] for each in last.evaluations] == [50.0]
    kept = json.loads(store.layout.index.read_bytes().partition(b"\n")[2])
    # What is read from the cache shows that it is read, and a change of a file that it is not.
    kept["sets"][str(NAME)][1][0][4] = "from the cache"
    body = json.dumps(kept).encode()
    store.layout.index.write_bytes(b"index 8 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    assert [entry.method for entry in store.entries()[0]] == ["from the cache", "dsa"]
    record = store.record_path(NAME, 1)
    write_atomically(record, record.read_bytes())
    assert [entry.method for entry in store.entries()[0]] == ["dsa", "dsa"]
    store.remove([stored.place])
    store.add_evaluation(find(store, f"{NAME}:1").digest, {"mean": 60.0})
    (only,) = store.entries()[0]
    assert [each["mean"] for each in only.evaluations] == [60.0]


@pytest.mark.parametrize("damage", [b"", b"[]", b"index 2 0\n{}", b"index 1", b"\xff\n\xff"])
def test_a_damaged_index_is_of_no_consequence(store: registry.Store, damage: bytes) -> None:
    stored, other = put(store), put(store, 1, OTHER)
    age(store)
    store.entries()
    whole = store.layout.index.read_bytes()
    for data in (damage, whole.replace(other.digest.encode(), stored.digest.encode()), whole[:-3]):
        store.layout.index.write_bytes(data)
        assert [entry.digest for entry in store.entries()[0]] == [stored.digest, other.digest]
        assert find(store, f"@sha256:{other.digest}") == other
        assert prune(store) == []
    assert verify(store).faults == []


def test_young_files_are_not_believed_to_stay(store: registry.Store) -> None:
    put(store)
    store.entries()
    assert not store.layout.index.exists()


def test_the_program_s_own_sets_get_no_index(tmp_path: Path) -> None:
    put(registry.Store(tmp_path))
    (tmp_path / "index").unlink(missing_ok=True)
    time.sleep(0.01)
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    assert len(registry.Reader(tmp_path).entries()[0]) == 1
    assert not (tmp_path / "index").exists()
