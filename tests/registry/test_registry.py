import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NAME, manifest, put, tensors

import registry
from registry.files import write_atomically
from registry.manifest import canonical
from registry.tensors import decode, encode


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def test_what_is_stored_comes_back(store: registry.Store) -> None:
    stored = put(store)
    assert stored.reference == "digits-dsa-convnet-ipc1:1"
    found = registry.Store(store.home).find(registry.parse_reference("digits-dsa-convnet-ipc1"))
    assert found == stored
    assert found.manifest == manifest(tensors())
    for name, array in store.tensors(found).items():
        np.testing.assert_array_equal(array, tensors()[name])
    assert found.picture.read_bytes() == b"png"
    assert store.find(registry.parse_reference(f"@sha256:{stored.digest}")) == stored


def test_versions_count_up_and_equal_content_is_one_version(store: registry.Store) -> None:
    assert [put(store, seed).version for seed in (0, 1, 0, 2, 1)] == [1, 2, 1, 3, 2]
    assert store.versions(NAME) == [1, 2, 3]
    assert store.find(registry.parse_reference("digits-dsa-convnet-ipc1")).version == 3
    assert store.find(registry.parse_reference("digits-dsa-convnet-ipc1:2")).version == 2
    assert store.newest().version == 3


def test_the_digest_is_of_the_content_not_of_the_circumstances() -> None:
    arrays = tensors()
    assert manifest(arrays).digest == manifest(arrays, created="2027-01-01", seconds=3.0).digest
    assert manifest(arrays).digest != manifest(tensors(1)).digest
    other = manifest(arrays).model_copy(update={"seed": 1})
    assert other.digest != manifest(arrays).digest


def test_names_with_and_without_namespace_do_not_meet(store: registry.Store) -> None:
    for name in ("a", "a/b", "b", "a/a", "a/json"):
        put(store, name=registry.parse_name(name))
    assert [str(name) for name in store.names()] == ["a", "b", "a/a", "a/b", "a/json"]
    assert len(store.sets()) == 5


def test_a_lone_file_explains_itself(store: registry.Store) -> None:
    stored = put(store)
    arrays, found = decode(stored.file.read_bytes(), "file")
    assert found == stored.manifest
    np.testing.assert_array_equal(arrays["labels"], [0, 0, 1, 1])


def test_evaluations_do_not_change_a_set(store: registry.Store) -> None:
    stored = put(store)
    before = {path: path.read_bytes() for path in store.home.rglob("*.json")}
    for index in (2, 1):
        store.add_evaluation(stored.digest, {"created": f"2026-01-0{index}", "mean": 50.0})
    assert [record["created"] for record in store.evaluations(stored.digest)] == ["2026-01-01", "2026-01-02"]
    assert all(path.read_bytes() == data for path, data in before.items())
    assert store.evaluations("f" * 64) == []


@pytest.mark.parametrize(
    "text", ["", "A", "a b", "../a", "a/../b", "/a", "a/b/c", ".a", "a..b", "a" * 81, "ä", "a/", "a\n"]
)
def test_bad_names_are_refused(text: str) -> None:
    with pytest.raises(registry.BadNameError, match="is not a name"):
        registry.parse_name(text)


@given(st.text(max_size=100))
def test_no_name_leaves_the_store(text: str) -> None:
    try:
        name = registry.parse_name(text)
    except registry.BadNameError:
        return
    home = Path("/store/sets")
    inside = Path(os.path.normpath(home / (name.namespace or "_") / name.name))
    assert inside.parent.parent == home


@pytest.mark.parametrize(
    "text", ["@sha256:1234567", "@sha256:" + "0" * 65, "@md5:" + "0" * 64, "a:B", "a:", "a:../x", "a:1.5x/y"]
)
def test_bad_references_are_refused(text: str) -> None:
    with pytest.raises(registry.BadNameError):
        registry.parse_reference(text)


def test_what_is_not_there(store: registry.Store) -> None:
    with pytest.raises(registry.NotFoundError, match="is empty"):
        store.newest()
    put(store)
    for text, message in (
        ("digits-dsa-convnet-ipc10", "Did you mean digits-dsa-convnet-ipc1"),
        ("digits-dsa-convnet-ipc1:7", "no digits-dsa-convnet-ipc1:7"),
        ("digits-dsa-convnet-ipc1:best", "no tag 'best'"),
        (f"@sha256:{'0' * 64}", "No set has the digest"),
    ):
        with pytest.raises(registry.NotFoundError, match=message):
            store.find(registry.parse_reference(text))


def test_changes_by_hand_are_found(store: registry.Store) -> None:
    stored = put(store)
    data = bytearray(stored.file.read_bytes())
    data[-1] ^= 1
    stored.file.write_bytes(data)
    with pytest.raises(registry.CorruptError, match="was modified"):
        store.tensors(stored)
    stored.file.unlink()
    with pytest.raises(registry.CorruptError, match="is missing"):
        store.tensors(stored)
    record = stored.picture.with_suffix(".json")
    changed = json.loads(record.read_text())
    changed["manifest"]["method"] = "dc"
    record.write_text(json.dumps(changed))
    reference = registry.parse_reference(stored.reference)
    with pytest.raises(registry.CorruptError, match="does not have the stated digest"):
        store.find(reference)
    for text, message in (("{", "not a JSON object"), ("{}", "is damaged"), ('{"a":NaN}', "not a JSON object")):
        record.write_text(text)
        with pytest.raises(registry.CorruptError, match=message):
            store.find(reference)
    # The others can still be listed.
    put(store, 1)
    found, faults = store.scan()
    assert [each.version for each in found] == [2]
    assert [str(record) in str(fault) for fault in faults] == [True]


def test_a_damaged_file_is_written_again_when_its_content_comes_back(store: registry.Store) -> None:
    stored = put(store)
    whole = stored.file.read_bytes()
    stored.file.write_bytes(whole[:50])
    assert put(store) == stored
    assert stored.file.read_bytes() == whole
    stored.file.unlink()
    assert put(store) == stored
    assert stored.file.read_bytes() == whole


def test_digests_may_be_cut_short(store: registry.Store) -> None:
    stored = put(store)
    assert store.find(registry.parse_reference(f"@sha256:{stored.digest[:8]}")) == stored


def test_sets_must_make_sense() -> None:
    for change, message in (
        ({"images": np.full((4, 1, 3, 3), np.nan, np.float32)}, "not finite"),
        ({"labels": np.array([0, 0, 1, 2])}, "labels outside of its 2 classes"),
        ({"images": np.zeros((0, 1, 3, 3), np.float32), "labels": np.zeros(0, np.int64)}, "no images"),
    ):
        arrays = tensors() | change
        with pytest.raises(registry.CorruptError, match=message):
            decode(encode(arrays, manifest(arrays)), "file")
    with pytest.raises(ValueError, match="a mean for every channel"):
        manifest(tensors() | {"images": np.zeros((4, 3, 3, 3), np.float32)})
    values = manifest(tensors()).dataset.model_dump() | {"std": [0.5, 0.5]}
    with pytest.raises(ValueError, match="different lengths"):
        registry.DatasetInfo(**values)


def test_tensors_must_be_those_of_the_manifest(store: registry.Store) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        store.put(NAME, tensors(1), manifest(tensors(0)))
    wrong = encode(tensors(1), manifest(tensors(0)))
    with pytest.raises(registry.CorruptError, match="does not match the manifest"):
        decode(wrong, "file")


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\xff" * 8 + b"{}", (2).to_bytes(8, "little") + b"{}"])
def test_files_that_are_no_sets(data: bytes) -> None:
    with pytest.raises(registry.CorruptError):
        decode(data, "file")


def test_a_newer_store_or_manifest_is_refused(store: registry.Store) -> None:
    stored = put(store)
    record = stored.picture.with_suffix(".json")
    newer = json.loads(record.read_text()) | {"schema_version": 3}
    record.write_text(json.dumps(newer))
    with pytest.raises(registry.StoreError, match="newer program"):
        store.find(registry.parse_reference(stored.reference))
    (store.home / "store.json").write_text('{"schema_version":2}')
    with pytest.raises(registry.StoreError, match="newer program"):
        registry.Store(store.home)
    (store.home / "store.json").write_text("[]")
    with pytest.raises(registry.CorruptError, match="is damaged"):
        registry.Store(store.home)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(registry.StoreError, match="Set `home` to a folder that you can write to"):
        put(registry.Store(tmp_path / "file" / "store"))


def test_atomic_writes_leave_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "a" / "file"
    write_atomically(target, b"1")
    write_atomically(target, b"2")
    assert target.read_bytes() == b"2"
    assert [path.name for path in target.parent.iterdir()] == ["file"]
    target.unlink()
    target.mkdir()
    with pytest.raises(registry.StoreError, match="Cannot write"):
        write_atomically(target, b"3")
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_canonical_json() -> None:
    assert canonical({"b": [1, 2.5], "a": "ö"}) == '{"a":"ö","b":[1,2.5]}'.encode()
    with pytest.raises(ValueError, match=r"nan|NaN|Out of range"):
        canonical({"a": float("nan")})


def _put_some(home: str, first: int) -> None:
    store = registry.Store(Path(home))
    for seed in range(first, first + 10):
        put(store, seed)


def test_processes_that_store_at_once_get_versions_without_gaps(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_put_some, args=(str(tmp_path), 5 * index)) for index in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    store = registry.Store(tmp_path)
    # Seeds 0 … 24, most of them stored by two processes.
    assert store.versions(NAME) == list(range(1, 26))
    assert len({stored.digest for stored in store.sets()}) == 25
