"""Verify and prune."""

import json
import os
from pathlib import Path

import pytest
from samples import OTHER, put

import registry
from registry.upkeep import leftovers, prune, verify


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def test_files_of_damaged_sets_are_nobody_s_to_remove(store: registry.Store) -> None:
    one = put(store)
    two = store.put(OTHER, store.tensors(one), one.manifest)
    two.record.write_text("{")
    store.remove([one.place])
    assert one.file.exists()
    findings = verify(store)
    assert not findings.complete
    assert findings.leftovers == []
    assert prune(store) == []
    assert one.file.exists()


@pytest.mark.usefixtures("open_to_all")
def test_a_folder_that_cannot_be_read_hides_no_set_from_prune(store: registry.Store) -> None:
    stored = put(store)
    for path in (store.home, store.home / "blobs", store.home / "lock", stored.file):
        path.chmod(0o777)
    stored.record.parent.chmod(0)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        said: list[object] = []
        try:
            os.setuid(65534)
            findings = verify(store)
            said += [findings.complete, [str(fault) for fault in findings.faults], list(map(str, findings.leftovers))]
            said += [list(map(str, prune(store))), [str(fault) for fault in store.entries()[1]]]
        finally:
            os.write(write_end, json.dumps(said).encode())
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        complete, faults, left, pruned, listed = json.loads(pipe.read())
    os.waitpid(child, 0)
    stored.record.parent.chmod(0o755)
    assert (complete, left, pruned) == (False, [], [])
    assert "Permission denied" in faults[0]
    assert "Permission denied" in listed[0]
    assert stored.file.exists()


def test_verify_is_not_fooled_by_who_writes_meanwhile(store: registry.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set is stored, and a tagged one removed, after each step of looking."""
    import registry.upkeep as module

    real = module._check_version
    turns = iter(range(100))

    def check_and_disturb(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        turn = next(turns)
        fresh = put(store, 100 + turn, OTHER)
        store.tag(fresh, "tag")
        store.remove([fresh.place])
        put(store, 200 + turn, OTHER)

    for seed in range(3):
        put(store, seed)
    monkeypatch.setattr(module, "_check_version", check_and_disturb)
    findings = verify(store)
    assert (findings.faults, findings.leftovers, findings.complete) == ([], [], True)


def damage_png(stored: registry.StoredSet) -> Path:
    assert stored.picture is not None
    stored.picture.write_bytes(b"other")
    return stored.picture


def lose_png(stored: registry.StoredSet) -> Path:
    assert stored.picture is not None
    stored.picture.unlink()
    return stored.picture


def damage_blob(stored: registry.StoredSet) -> Path:
    data = bytearray(stored.file.read_bytes())
    data[-1] ^= 1
    stored.file.write_bytes(data)
    return stored.file


def lose_blob(stored: registry.StoredSet) -> Path:
    stored.file.unlink()
    return stored.file


def damage_record(stored: registry.StoredSet) -> Path:
    stored.record.write_bytes(stored.record.read_bytes().replace(b'"dsa"', b'"dc"'))
    return stored.record


def damage_tags(stored: registry.StoredSet) -> Path:
    path = stored.record.with_name("name.json")
    path.write_text("{")
    return path


def dangle(stored: registry.StoredSet) -> Path:
    path = stored.record.with_name("name.json")
    path.write_text('{"schema_version":1,"last":0,"tags":{"best":9}}')
    return path


def link(stored: registry.StoredSet) -> Path:
    path = stored.record.parent.with_name("link")
    path.symlink_to("/", target_is_directory=True)
    return path


def long_record(stored: registry.StoredSet) -> Path:
    stored.record.write_bytes(b" " * 3_000_000)
    return stored.record


def damage_result(stored: registry.StoredSet) -> Path:
    path = registry.Store(stored.file.parents[1]).add_evaluation(stored.digest, {"mean": 50.0})
    path.write_text('{"mean":99.0}')
    return path


def damage_provenance(stored: registry.StoredSet) -> Path:
    stored.record.write_bytes(stored.record.read_bytes().replace(b"2026-01-01", b"2027-01-01"))
    return stored.record


def folder_for_png(stored: registry.StoredSet) -> Path:
    assert stored.picture is not None
    stored.picture.unlink()
    stored.picture.mkdir()
    return stored.picture


def rename(stored: registry.StoredSet) -> Path:
    """A name that no set can have, whose file looks as if nothing named it."""
    return stored.record.parent.parent.rename(stored.record.parent.parent.with_name("Old"))


DAMAGES = (
    damage_png,
    lose_png,
    damage_blob,
    lose_blob,
    damage_record,
    damage_tags,
    dangle,
    link,
    long_record,
    damage_result,
    damage_provenance,
    folder_for_png,
    rename,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_what_was_changed_by_hand(store: registry.Store, damage) -> None:  # type: ignore[no-untyped-def]
    put(store, 0)
    stored, whole = put(store, 1), put(store, 0, OTHER)
    assert verify(store).faults == []
    path = damage(stored)
    (fault,) = verify(store).faults
    assert str(path) in str(fault)
    assert prune(store) == []
    assert verify(store, [whole]).faults == []
    assert whole.reference in verify(store).checked


def test_verify_and_prune_find_what_nothing_names(store: registry.Store) -> None:
    stored = put(store)
    home, temporary = store.home, ".tmp-1-abcdef"
    strays = [
        home / temporary,
        home / "blobs" / temporary,
        home / "blobs" / f"{'0' * 64}.safetensors",
        stored.record.with_name(temporary),
        stored.record.with_name("9.png"),
        home / "evaluations" / stored.digest / temporary,
    ]
    for path in strays:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    findings = verify(store)
    assert findings.faults == []
    assert findings.leftovers == sorted(strays) == leftovers(store)
    assert prune(store) == sorted(strays)
    assert not any(path.exists() for path in strays)
    findings = verify(store)
    assert (findings.faults, findings.leftovers, findings.checked) == ([], [], [stored.reference])
