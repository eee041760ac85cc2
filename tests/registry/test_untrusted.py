"""Files and names from elsewhere, damaged or made with intent: a clear error, or the right answer."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peak
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NAME, manifest, put, tensors

import registry
from registry.manifest import canonical
from registry.records import VersionRecord
from registry.tensors import decode, describe, encode
from registry.upkeep import verify

ODD = (None, True, -1, 0, 1.5, 1e308, 2**64, "", "../../x", "a" * 5000, "\ud800", [], {}, [[]], {"a": {}}, "\x00", "ﬀ")


def mutated(data: bytes, source: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, moved, or a length that lies."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 5))):
        at = source.randrange(len(changed) + 1)
        to = min(len(changed), at + source.choice((1, 4, 8, 64)))
        kind = source.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            del changed[at:to]
        elif kind == 3:
            changed[at:at] = changed[at:to]
        elif kind == 4:
            changed[at:at] = source.randbytes(to - at)
        elif kind == 5:
            changed[at:to] = bytes(to - at)
        else:
            changed[:8] = source.choice((0, 1, len(data), 2**20 + 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little")
    return bytes(changed)


def grafted(value: Any, source: random.Random) -> Any:
    """JSON with one value replaced by an odd one, one taken away, or one more."""
    if isinstance(value, dict) and value and source.random() < 0.9:
        key = source.choice(sorted(value))
        kind = source.randrange(8)
        rest = {name: item for name, item in value.items() if name != key}
        if kind == 0:
            return rest
        if kind == 1:
            return {**value, "more": source.choice(ODD)}
        return {**value, key: grafted(value[key], source)}
    if isinstance(value, list) and value and source.random() < 0.5:
        place = source.randrange(len(value))
        return [*value[:place], grafted(value[place], source), *value[place + 1 :]]
    return source.choice(ODD)


def is_one_line(error: registry.RegistryError, *parts: str) -> None:
    """The message is fit to be printed, and has these parts."""
    assert "\n" not in error.message
    for part in parts:
        assert part in error.message


@pytest.mark.parametrize("count", [3500, pytest.param(50_000, marks=pytest.mark.long)])
def test_mutated_files_give_an_error_or_the_right_answer(count: int, tell: Callable[[str], None]) -> None:
    whole, source, outcomes = encode(tensors(), manifest(tensors())), random.Random(1), Counter[str]()
    for _ in range(count):
        data = mutated(whole, source)
        try:
            arrays, _ = decode(data, "file")
        except (registry.CorruptError, registry.StoreError) as error:
            is_one_line(error, "file")
            outcomes["refused"] += 1
        else:
            for name, array in tensors().items():
                np.testing.assert_array_equal(arrays[name], array)
            outcomes["right"] += 1
    tell(f"{count} mutated safetensors files: {dict(outcomes)}")
    assert outcomes["refused"] > count / 2
    assert outcomes["right"] > 0


@pytest.mark.parametrize("count", [1500, pytest.param(15_000, marks=pytest.mark.long)])
def test_mutated_records_give_an_error_or_the_right_answer(
    count: int, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Half of them with digests that are made to fit, as an attacker would."""
    store, source, outcomes = registry.Store(tmp_path / "home"), random.Random(2), Counter[str]()
    stored = put(store)
    whole = stored.record.read_bytes()
    reference = registry.parse_reference(stored.reference)
    for turn in range(count):
        if turn % 2:
            data = mutated(whole, source)
        else:
            values = grafted(json.loads(whole), source)
            try:
                digest = registry.Manifest.model_validate(values["manifest"]).digest
                data = canonical({**values, "digest": digest})
            except (ValueError, TypeError, KeyError):
                data = json.dumps(values).encode()
        stored.record.write_bytes(data)
        try:
            found = store.find(reference)
            arrays = store.tensors(found)
        except registry.RegistryError as error:
            is_one_line(error)
            outcomes["refused"] += 1
        else:
            for name, array in tensors().items():
                np.testing.assert_array_equal(arrays[name], array)
            outcomes["right"] += 1
        entries, faults = store.entries()
        assert len(entries) + len(faults) == 1
        verify(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
    tell(f"{count} mutated records: {dict(outcomes)}")
    assert outcomes["refused"] > count / 2
    assert outcomes["right"] > 0


def file(values: dict[str, object], data: bytes) -> bytes:
    header = json.dumps(values, separators=(",", ":")).encode()
    return len(header).to_bytes(8, "little") + header + data


def lying(size: int) -> dict[str, bytes]:
    """Files whose header cannot be right, with so many bytes of numbers after it."""
    data, side = bytes(size), 2**33
    ok = {"dtype": "F32", "shape": [size // 4, 1, 1, 1], "data_offsets": [0, size]}
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [size, size]}
    mine = {"__metadata__": {"dsactl.manifest": "{}"}, "images": ok}
    return {
        "shapes that multiply beyond 64 bits": file({"images": {**ok, "shape": [side, side, 1, 1]}}, data),
        "a shape larger than the data": file({"images": {**ok, "shape": [2**20, 1, 1024, 1024]}}, data),
        "offsets beyond the end": file({"images": {**ok, "data_offsets": [0, 2**40]}}, data),
        "offsets that go back": file({"images": {**ok, "data_offsets": [size, 0]}}, data),
        "tensors that overlap": file({"images": ok, "labels": ok}, data),
        "a thousand tensors that overlap": file({f"t{index}": ok for index in range(1000)}, data),
        "a header of more than a megabyte": (2**20 + 1).to_bytes(8, "little") + b"{" + b" " * 2**20 + b"}" + data,
        "a header deep as a well": (200_000).to_bytes(8, "little") + b"[" * 200_000 + data,
        "as many tensors as go into a header": file({"images": ok} | {f"{i}": empty for i in range(18_000)}, data),
        "negative shapes": file({"images": {**ok, "shape": [-1, 1, 1, -1]}}, data),
        "an unknown type": file({"images": {**ok, "dtype": "Q7"}}, data),
        "metadata that is no text": file({"__metadata__": {"dsactl.manifest": 3}, "images": ok}, data),
        "no manifest": file({"images": ok}, data),
        "an empty manifest": file(mine, data),
        "a manifest that is none": file({**mine, "__metadata__": {"dsactl.manifest": "[" * 100_000}}, data),
    }


@pytest.mark.parametrize("what", lying(4))
def test_headers_that_lie(what: str) -> None:
    data = lying(4)[what]
    with pytest.raises(registry.CorruptError, match="file"):
        decode(data, "file")
    assert what == "a header of more than a megabyte" or int.from_bytes(data[:8], "little") < 2**20


@peak.needs_proc
def test_what_headers_that_lie_take(tmp_path: Path) -> None:
    """Beside the file there is at most what it has of numbers, however large the header says that they are."""
    size = 32 * 2**20
    for name, data in lying(size).items():
        (tmp_path / name).write_bytes(data)
    rises = json.loads(peak.run(_DECODE, *tmp_path.iterdir()))
    assert len(rises) == len(lying(4))
    for path, (refused, rise) in rises.items():
        assert refused, path
        assert rise < size + 4 * 2**20, f"{path}: {rise:,}"


_DECODE = """
from registry import CorruptError
from registry.tensors import decode

def attempt(data):
    try:
        decode(data, "file")
    except CorruptError:
        return True
    return False

attempt(Path(sys.argv[1]).read_bytes())
rises = {}
for path in sys.argv[1:]:
    data, outcome = Path(path).read_bytes(), []
    rise = peak(lambda: outcome.append(attempt(data)))
    rises[path] = outcome[0], rise
print(json.dumps(rises))
"""


@peak.needs_proc
def test_reading_takes_no_more_than_twice_the_file(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    arrays = {"images": source.normal(size=(10_000, 1, 28, 28)).astype(np.float32), "labels": np.arange(10_000) % 2}
    data = encode(arrays, manifest(arrays))
    files = {"whole": data, "cut": data[:-1], "changed": data[:-8] + bytes(8)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    rises = json.loads(peak.run(_DECODE, *(tmp_path / name for name in files)))
    for name in files:
        refused, rise = rises[str(tmp_path / name)]
        assert refused == (name != "whole")
        assert rise < len(data) + 4 * 2**20  # the file itself was there before


@given(st.text(max_size=120))
def test_texts_are_references_or_refused(text: str) -> None:
    try:
        reference = registry.parse_reference(text)
    except registry.BadNameError as error:
        is_one_line(error, "is not a")
    else:
        assert str(reference.name or "") in text


def test_manifests_must_describe_images_with_labels() -> None:
    values = manifest(tensors()).model_dump()
    for change in (
        {"tensors": {}},
        {"tensors": {**values["tensors"], "more": values["tensors"]["labels"]}},
        {"tensors": {**values["tensors"], "labels": {**values["tensors"]["labels"], "shape": [3]}}},
        {"tensors": {**values["tensors"], "images": {**values["tensors"]["images"], "shape": [4, 9]}}},
        {"dataset": {**values["dataset"], "mean": [0.1, 0.2], "std": [1.0, 1.0]}},
        {"tensors": {**values["tensors"], "soft_labels": {**values["tensors"]["labels"], "shape": [4]}}},
        {"tensors": {**values["tensors"], "soft_labels": {**values["tensors"]["labels"], "shape": [3, 2]}}},
        {"tensors": {**values["tensors"], "soft_labels": {**values["tensors"]["labels"], "shape": [4, 7]}}},
    ):
        with pytest.raises(ValueError, match=r"tensors images and labels|N×C×H×W|mean for every channel|soft labels"):
            registry.Manifest.model_validate(values | change)
    for change in (
        {"method": "\x1b[2J"},
        {"recipe": {"a": ["\x9b"]}},
        {"provenance": {"\x07": 1}},
        {"method": "dsa\rdc"},
        {"network": "conv\b\b\b\bmlp"},
        {"provenance": {"device": "cpu\nError: all is lost"}},
        {"dataset": {**values["dataset"], "class_names": ["a", "b\tc"]}},
        {"recipe": {"a\x85b": {}}},
    ):
        with pytest.raises(ValueError, match="control characters"):
            registry.Manifest.model_validate(values | change)


def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    store = registry.Store(tmp_path / "home")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = store.layout.folder(NAME)
    folder.mkdir(parents=True)
    for name in ("1.json", "1.png", "name.json"):
        (folder / name).symlink_to(outside)
    store.layout.newest.symlink_to(outside)
    store.layout.index.symlink_to(outside)
    with pytest.raises(registry.RegistryError):
        store.tags(NAME)
    (folder / "name.json").unlink()
    stored = put(store)
    store.tag(stored, "best")
    store.entries()
    store.remove([stored.place])
    assert outside.read_text() == "mine"


def test_a_record_cannot_name_files_elsewhere() -> None:
    values = {
        "stored": "",
        "digest": "0" * 64,
        "tensors": {"sha256": "../" * 20 + "etc", "size": 1},
        "picture": None,
        "manifest": manifest(tensors()).model_dump(),
    }
    with pytest.raises(ValueError, match="sha256"):
        VersionRecord.model_validate(values)
    assert describe(tensors())["images"].sha256.isalnum()
