"""Tags, removal, numbers, repair; what is newest; results."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import NAME, OTHER, find, put

import registry
from registry.upkeep import prune, verify


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def test_a_tag_moves_and_a_version_does_not(store: registry.Store) -> None:
    first, second = put(store, 0), put(store, 1)
    store.tag(first, "best")
    store.tag(first, "paper")
    store.tag(second, "best")
    assert store.tags(NAME) == {"best": 2, "paper": 1}
    assert find(store, f"{NAME}:best") == second
    assert find(store, f"{NAME}:latest") == second
    store.untag(NAME, "best")
    assert store.tags(NAME) == {"paper": 1}
    with pytest.raises(registry.NotFoundError, match=r"no tag 'best'. Tags: paper; newest version: 2"):
        find(store, f"{NAME}:best")
    with pytest.raises(registry.NotFoundError, match="no tag 'best'"):
        store.untag(NAME, "best")


@pytest.mark.parametrize("tag", ["latest", "3", "A", "../x", "", "a b", "a/b"])
def test_what_is_no_tag(store: registry.Store, tag: str) -> None:
    stored = put(store)
    with pytest.raises(registry.BadNameError):
        store.tag(stored, tag)
    assert store.tags(NAME) == {}


def test_a_removed_version_is_gone_and_its_number_with_it(store: registry.Store) -> None:
    first, second, third = (put(store, seed) for seed in range(3))
    store.tag(third, "best")
    store.tag(first, "paper")
    store.add_evaluation(third.digest, {"mean": 1.0})
    removal = store.removal([third.place])
    assert removal.references == (third.reference,)
    assert removal.tags == (f"{NAME}:best",)
    assert removal.bytes == third.size + len(b"png")
    store.remove([third.place])
    assert store.versions(NAME) == [1, 2]
    assert store.tags(NAME) == {"paper": 1}
    assert not any(path.exists() for path in (third.file, third.picture, third.record))
    assert store.evaluations(third.digest) == [{"mean": 1.0}]
    with pytest.raises(registry.NotFoundError, match=r"no digits-dsa-convnet-ipc1:3. Versions: 1, 2."):
        find(store, third.reference)
    with pytest.raises(registry.NotFoundError, match="was removed"):
        store.tensors(third)
    with pytest.raises(registry.NotFoundError):
        store.remove([third.place])
    with pytest.raises(registry.NotFoundError):
        store.tag(third, "best")
    assert put(store, 2).version == 4, "the same content again, under a number of its own"
    store.remove([first.place, second.place, (NAME, 4)])
    assert store.names() == []
    assert put(store, 5).version == 5
    assert not verify(store).faults


def test_a_file_that_two_sets_share_stays_with_the_other(store: registry.Store) -> None:
    one = put(store)
    two = store.put(OTHER, store.tensors(one), one.manifest)
    assert one.file == two.file
    assert store.removal([one.place]).bytes == len(b"png")
    assert store.removal([one.place, two.place]).bytes == one.size + len(b"png")
    store.remove([one.place])
    assert verify(store).faults == []
    assert store.tensors(two)["labels"].tolist() == [0, 0, 1, 1]


def test_a_version_that_comes_from_elsewhere_keeps_its_number(store: registry.Store) -> None:
    assert put(store, 0, version=7).version == 7
    assert put(store, 0, version=7).version == 7
    with pytest.raises(registry.ConflictError, match="other content"):
        put(store, 1, version=7)
    assert put(store, 1, version=3).version == 3
    assert put(store, 0, version=2).version == 2, "the same content may have two numbers"
    assert put(store, 4).version == 8
    assert store.versions(NAME) == [2, 3, 7, 8]


def test_a_number_is_for_one_content_for_ever(store: registry.Store) -> None:
    first, second = put(store, 0), put(store, 1)
    store.remove([second.place])
    with pytest.raises(registry.ConflictError, match="was removed, and had other content"):
        put(store, 2, version=2)
    assert put(store, 1, version=2).digest == second.digest, "the same content may come back"
    for version in (0, -1, 10**9):
        with pytest.raises(ValueError, match="count from 1"):
            put(store, 3, version=version)
    put(store, 3, version=999_999_999)
    with pytest.raises(registry.StoreError, match="no more version numbers"):
        put(store, 4)
    assert store.versions(NAME) == [1, 2, 999_999_999]
    assert find(store, f"{NAME}:1") == first


def test_damaged_versions_can_be_removed_or_made_again(store: registry.Store) -> None:
    first, second = put(store, 0), put(store, 1)
    whole = first.record.read_bytes()
    # The part that says which content it is can still be read.
    first.record.write_bytes(whole[:-10])
    again = put(store, 0)
    assert (again.version, again.digest) == (1, first.digest)
    assert verify(store).faults == []
    second.record.write_text("{")
    with pytest.raises(registry.CorruptError):
        find(store, second.reference)
    store.remove([second.place])
    assert verify(store).faults == []
    assert prune(store) == [second.file], "while it was damaged, nobody knew whose file this was"
    with pytest.raises(registry.ConflictError, match="was removed, and had other content"):
        put(store, 1, version=2)
    assert first.picture is not None
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"other")):
        damage(first.picture)
        assert put(store, 0).picture == first.picture
        assert verify(store).faults == []


def test_a_damaged_newest_set_is_not_passed_over(store: registry.Store) -> None:
    put(store, 0)
    put(store, 1).record.write_text("{")
    with pytest.raises(registry.CorruptError):
        store.newest()


def test_nothing_is_written_through_a_link(store: registry.Store, tmp_path: Path) -> None:
    stored = put(store)
    outside = tmp_path / "outside"
    store.layout.blobs.rename(outside)
    store.layout.blobs.symlink_to(outside)
    with pytest.raises(registry.StoreError, match="is a link"):
        put(store, 1)
    assert store.tensors(stored)["labels"].tolist() == [0, 0, 1, 1]
    assert [path.name for path in outside.iterdir()] == [stored.file.name]
    hidden = store.layout.sets / "_" / ".hidden"
    hidden.mkdir()
    (store.layout.sets / "_" / "x").symlink_to(hidden)
    with pytest.raises(registry.BadNameError, match="is a link"):
        store.versions(registry.parse_name("x"))


def test_a_store_that_became_newer_is_left_alone(store: registry.Store) -> None:
    put(store)
    store.layout.marker.write_text('{"schema_version":2}')
    with pytest.raises(registry.StoreError, match="newer program"):
        put(store, 1)


@pytest.mark.parametrize(
    "record",
    [
        {"mean": 10**400},
        {"mean": float("nan")},
        {"mean": "90"},
        {"n": 2.5},
        {"n": "[/b]"},
        {"network": 3},
        {"paper": [1.0]},
        {"created": "\x1b[2J"},
        {"notes": "a\rb"},
        {"notes": "x" * 200_000},
        {"network": "x" * 2000},
    ],
)
def test_results_must_make_sense(store: registry.Store, record: dict[str, registry.JsonValue]) -> None:
    stored = put(store)
    with pytest.raises(ValueError, match=r"result|JSON"):
        store.add_evaluation(stored.digest, record)
    path = store.layout.evaluations / stored.digest / "x.json"
    path.parent.mkdir(parents=True)
    data = json.dumps(record).encode()
    path = path.with_name(f"{hashlib.sha256(data).hexdigest()[:32]}.json")
    path.write_bytes(data)
    assert store.evaluations(stored.digest) == []
    assert [str(path) in str(fault) for fault in verify(store).faults] == [True]


def test_the_newest_is_what_was_stored_last_whatever_the_clock_says(
    store: registry.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import registry.store as module

    class Clock(datetime):
        today = datetime(2030, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return cls.today

    monkeypatch.setattr(module, "datetime", Clock)
    put(store, 0)
    Clock.today = datetime(2020, 1, 1, tzinfo=UTC)
    second, third = put(store, 1), put(store, 2, OTHER)
    assert store.newest() == third
    assert [entry.reference for entry in store.entries()[0]] == [f"{NAME}:1", f"{NAME}:2", "lab/other:1"]
    store.remove([third.place])
    assert store.newest() == second
    for damage in ("", "[]", '{"stored":"?","reference":1}', '{"reference":"../x:1"}'):
        store.layout.newest.write_text(damage)
        assert store.newest() == second
        assert put(store, 1) == second
    store.layout.newest.unlink()
    assert put(store, 3).stored > second.stored, "the clock is still wrong, and the cache is gone"


def test_whether_a_store_can_be_written_to_is_known_before_it_exists(tmp_path: Path) -> None:
    registry.Store(tmp_path / "a" / "b").check_writable()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(registry.StoreError, match="Cannot write to the store"):
        registry.Store(tmp_path / "file" / "b").check_writable()
