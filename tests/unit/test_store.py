"""Tags, removal, the index, verify and prune."""

import hashlib
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import NAME, put

import registry
from registry.files import write_atomically
from registry.upkeep import leftovers, prune, verify

OTHER = registry.parse_name("lab/other")


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def find(store: registry.Store, text: str) -> registry.StoredSet:
    return store.find(registry.parse_reference(text))


def age(store: registry.Store) -> None:
    """Make every file old enough for the index to believe its time."""
    for path in [*store.home.rglob("*"), store.home]:
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


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
    with pytest.raises(registry.NotFoundError, match="any more"):
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


def test_files_of_damaged_sets_are_nobody_s_to_remove(store: registry.Store) -> None:
    one = put(store)
    two = store.put(OTHER, store.tensors(one), one.manifest)
    two.record.write_text("{")
    store.remove([one.place])
    assert one.file.exists()
    findings = verify(store)
    assert not findings.sure
    assert findings.leftovers == []
    assert prune(store) == []
    assert one.file.exists()


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
    with pytest.raises(registry.ConflictError, match="was removed here, and had other content"):
        put(store, 2, version=2)
    assert put(store, 1, version=2).digest == second.digest, "the same content may come back"
    for version in (0, -1, 10**9):
        with pytest.raises(ValueError, match="count from 1"):
            put(store, 3, version=version)
    put(store, 3, version=999_999_999)
    with pytest.raises(registry.StoreError, match="no more numbers"):
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
    with pytest.raises(registry.ConflictError, match="was removed here"):
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


def test_a_folder_that_cannot_be_read_hides_no_set_from_prune(store: registry.Store) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    stored = put(store)
    for path in (store.home.parent, *store.home.parents):
        if path != Path("/") and path.stat().st_uid == 0:
            path.chmod(path.stat().st_mode | 0o055)
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
            said += [findings.sure, [str(fault) for fault in findings.faults], list(map(str, findings.leftovers))]
            said += [list(map(str, prune(store))), [str(fault) for fault in store.entries()[1]]]
        finally:
            os.write(write_end, json.dumps(said).encode())
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        sure, faults, left, pruned, listed = json.loads(pipe.read())
    os.waitpid(child, 0)
    stored.record.parent.chmod(0o755)
    assert (sure, left, pruned) == (False, [], [])
    assert "Permission denied" in faults[0]
    assert "Permission denied" in listed[0]
    assert stored.file.exists()


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
    assert (findings.faults, findings.leftovers, findings.sure) == ([], [], True)


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
    store.layout.index.write_bytes(b"index 3 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
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
    assert not store.layout.index.exists() or b":1" not in store.layout.index.read_bytes()


def test_the_program_s_own_sets_get_no_index(tmp_path: Path) -> None:
    put(registry.Store(tmp_path))
    (tmp_path / "index").unlink(missing_ok=True)
    time.sleep(0.01)
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    assert len(registry.Reader(tmp_path).entries()[0]) == 1
    assert not (tmp_path / "index").exists()


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
