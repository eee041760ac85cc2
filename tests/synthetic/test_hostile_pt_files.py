"""Malicious, inconsistent and damaged torch.save files: none of their code is run."""

import io
import lzma
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peak
import pytest
import torch
from pt_samples import CLASSES, FORMATS, IMAGES, LABELS, SHAPE, authors, save

from dsactl.errors import DataError
from dsactl.synthetic.importing.contents import read_content
from dsactl.synthetic.importing.images import to_floats, to_images
from dsactl.synthetic.importing.labels import to_labels
from dsactl.synthetic.importing.layouts import experiments, sorted_labels
from dsactl.synthetic.importing.pickle_reader import MAX_OPERATIONS
from dsactl.synthetic.importing.torch_files import LEGACY_MAGIC, load
from registry import RegistryError
from registry.parquet import write_parquet


class Malicious:
    """An object that creates a file when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@FORMATS
def test_code_does_not_run(tmp_path: Path, new: bool) -> None:
    mark = tmp_path / "mark"
    for content in (Malicious(f"touch {mark}"), {"data": [[IMAGES, LABELS]], "x": Malicious(f"touch {mark}")}):
        path = save(content, tmp_path / "f.pt", new)
        with pytest.raises(DataError, match=r"would load '(posix|nt)\.system'"):
            load(path)
        assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # unchecked loading runs the code


@FORMATS
@pytest.mark.parametrize(
    "content",
    [Path("x"), {1, 2}, 1j, torch.nn.Linear(1, 1), IMAGES.to_sparse(), bytearray(3), np.ma.zeros(3)],
    ids=lambda content: type(content).__name__,
)
def test_other_objects_are_refused(tmp_path: Path, content: Any, new: bool) -> None:
    with pytest.raises(DataError, match=r"is not read: it .*would load .*torch\.save\(\[images, labels\], FILE\)"):
        load(save(content, tmp_path / "f.pt", new))


def archive(path: Path, operations: bytes, records: dict[str, bytes] | None = None, **zip_options: Any) -> Path:
    """Write a torch.save zip with a handmade pickle."""
    with zipfile.ZipFile(path, "w", **zip_options) as made:
        made.writestr("a/data.pkl", b"\x80\x02" + operations + b".")
        for name, data in {"version": b"3\n", "byteorder": b"little", **(records or {})}.items():
            made.writestr(f"a/{name}", data)
    return path


def word(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + data


def function(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def storage(count: int, key: str = "0", kind: str = "torch FloatStorage") -> bytes:
    return b"(" + word("storage") + function(kind) + word(key) + word("cpu") + number(count) + b"tQ"


def tensor(count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    numbers = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, stride)]
    hooks = function("collections OrderedDict") + b")R"
    return b"".join(
        [
            function("torch._utils _rebuild_tensor_v2"),
            b"(",
            storage(count),
            number(offset),
            *numbers,
            b"\x89",
            hooks,
            b"tR",
        ]
    )


NUMBERS = {"data/0": np.arange(6, dtype=np.float32).tobytes()}


def test_a_pickle_by_hand_is_what_torch_reads(tmp_path: Path) -> None:
    path = archive(tmp_path / "f.pt", tensor(6, 1, (2, 2), (2, 1)), NUMBERS)
    assert load(path).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (tensor(6, 0, (10**6,), (0,)), "a tensor of 1000000 numbers in a storage of 6"),
        (tensor(6, 0, (2, 4), (1, 1)), "8 numbers in a storage of 6"),
        (tensor(6, 3, (4,), (1,)), "4 numbers in a storage of 6"),
        (tensor(6, 7, (0,), (1,)), "0 numbers in a storage of 6"),
        (tensor(6, 0, (2,), (2**62,)), "2 numbers in a storage of 6"),
        (tensor(6, -1, (2,), (1,)), "impossible shape"),
        (tensor(6, 0, (-2,), (1,)), "impossible shape"),
        (tensor(6, 0, (2,), (1, 1)), "impossible shape"),
        (tensor(6, 0, (2**64,), (1,)), "impossible shape"),
        (tensor(6, 0, (1,) * 9, (1,) * 9), "impossible shape"),
        (tensor(10**12, 0, (2,), (1,)), "more bytes than the file"),
        (tensor(5, 0, (2,), (1,)), "record data/0 does not have 20 bytes"),
        (storage(6, "1"), "record data/1 does not have 24 bytes"),
        (storage(6, "../../x"), "record data/../../x does not have"),
        (storage(6, kind="torch ComplexFloatStorage"), "would load 'torch.ComplexFloatStorage'"),
        (storage(6) + b"0" + storage(3, kind="torch DoubleStorage"), "operation POP"),
        (b"(" + storage(6) + storage(3, kind="torch DoubleStorage") + b"t", "parts of others"),
        (function("torch FloatStorage") + number(10**12) + b"\x85R", "calls a function with unexpected arguments"),
        (word("x" * 2000) + b"q\x01" + 9 * (function("_codecs encode") + b"h\x01" + word("latin1") + b"\x86R"),
         "more bytes than the file"),
        (b"K\x01K\x02a", "appends to something"),
        (b"]" + b"K\x01K\x02s", "sets an item"),
        (function("torch FloatStorage") + b"}b", "would change the state"),
        (function("numpy dtype") + word("f4") + b"\x85R" + b"}b", "would change the state"),
        (function("builtins bytearray") + number(10**12) + b"\x85R", "would load 'builtins.bytearray'"),
        (function("_codecs encode") + word("x") + word("hex") + b"\x86R", "calls a function"),
        (function("collections OrderedDict") + b"]\x85R", "calls a function"),
        (b"]" + b"}b", "would change the state"),
        (function("torch._utils _rebuild_parameter") + b"(K\x01\x89Ntt", "stack is empty|is invalid"),
        (b"}" + b")" + b"\x85" * 100_000 + b"Ns", "keys that are neither strings nor numbers"),
        (b"t", "is damaged"),
        (b"h\x05", "is damaged"),
        (b"\x80\x01N", "protocol 1"),
        (b"\x95" + b"\x00" * 8 + b"\x8f", "operation EMPTY_SET"),
        (b"\x96" + (10**12).to_bytes(8, "little"), "is damaged"),
        (word("posix") + word("system") + b"\x93", "would load 'posix.system'"),
        (b")" + b"q\x00h\x00\x86" * 9 + word("x") + b"\x93", "refers to a function that has no name"),
        (word("x") + b"K\x01\x93", "refers to a function that has no name"),
        (b"N" * MAX_OPERATIONS, "contains more than tensors"),
        (b"(" + word("module") + word("x") + b"tQ", "refers to something that is not a storage"),
    ],
)  # fmt: skip
def test_hostile_pickles(tmp_path: Path, operations: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(archive(tmp_path / "f.pt", operations, NUMBERS))


def test_a_long_name_of_a_type_is_shortened(tmp_path: Path) -> None:
    made = function("numpy.core.multiarray _reconstruct") + function("numpy ndarray") + b"\x85R"
    state = b"(K\x01)" + function("numpy dtype") + word("x" * 5000) + b"\x85R" + b"\x89C\x00t"
    with pytest.raises(DataError, match="has a numpy array of 'xxx") as raised:
        load(archive(tmp_path / "f.pt", made + state + b"b"))
    assert len(str(raised.value)) < 500


def test_an_old_file_that_asks_for_more_bytes_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "f.pt"
    save([torch.zeros(2), torch.zeros(2)], path, new=False)
    stream = io.BytesIO(path.read_bytes())
    for _ in range(3):  # what precedes the content
        pickle.load(stream)
    head = stream.getvalue()[: stream.tell()]
    path.write_bytes(head + b"\x80\x02\x8e" + (2**46).to_bytes(8, "little"))
    with pytest.raises(DataError, match="its pickle is invalid"):
        load(path)


def test_hostile_zips(tmp_path: Path) -> None:
    path, good = tmp_path / "f.pt", tensor(6, 0, (6,), (1,))
    bomb = archive(path, good, {"data/0": b"\x00" * 24}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="it is compressed"):
        load(bomb)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", b"\x80\x02N.")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a/data.pkl", b"\x80\x02N.")
    with pytest.raises(DataError, match="records overlap"):
        load(path)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/other", b"x")
    with pytest.raises(DataError, match=r"not one of torch\.save"):
        load(path)
    # Records that share their bytes.
    archive(path, good, {"data/0": b"\x00" * 24, **{f"data/{index}": b"" for index in range(1, 9)}})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as made:
        first, size = made.getinfo("a/data/0"), struct.pack("<I", 10**9)
    entry = whole.rindex(b"a/data/0") - 46
    path.write_bytes(whole[: entry + 20] + size + size + whole[entry + 28 :])
    assert first.file_size == 24
    with pytest.raises(DataError, match="records overlap"):
        load(path)


def old(path: Path, content: bytes, keys: bytes, numbers: bytes = b"") -> Path:
    """Write a file of the older format with handmade pickles of the content and the keys."""
    begins = LEGACY_MAGIC + b"\x80\x02}."
    path.write_bytes(begins + b"\x80\x02" + content + b".\x80\x02" + keys + b"." + numbers)
    return path


@pytest.mark.parametrize("keys", [b"N", b"]K\x00a", b"]" + word("1") + b"a", b"]", b"}", b"]]a"])
def test_keys_of_the_old_format_that_are_no_keys(tmp_path: Path, keys: bytes) -> None:
    content, numbers = tensor(1, 0, (1,), (1,)), struct.pack("<qf", 1, 2.5)
    assert load(old(tmp_path / "f.pt", content, b"]" + word("0") + b"a", numbers)).tolist() == [2.5]
    with pytest.raises(DataError, match=r"is damaged \(its keys are not"):
        load(old(tmp_path / "f.pt", content, keys, numbers))


def test_the_old_format_does_not_lie(tmp_path: Path) -> None:
    whole = save([IMAGES, LABELS], tmp_path / "f.pt", new=False).read_bytes()
    assert whole.startswith(LEGACY_MAGIC)
    count = struct.pack("<q", IMAGES.numel())
    for changed, message in (
        (whole[:-1], "need 144 bytes"),
        (whole + b"x", "need 144 bytes"),
        (whole.replace(b"K\x18N", b"J\x18\x00\x00\x7fN"), "more bytes than the file"),
        (whole.replace(count, struct.pack("<q", 25)), "a tensor of 24 numbers has 25"),
    ):
        assert changed != whole
        (tmp_path / "f.pt").write_bytes(changed)
        with pytest.raises(DataError, match=message):
            load(tmp_path / "f.pt")


@pytest.mark.parametrize(
    "data", [b"", b"x", b"PK\x03\x04", LEGACY_MAGIC, LEGACY_MAGIC[:-1], b"\x80\x02N.", b"\x93NUMPY" + b"x" * 99]
)
def test_files_of_something_else(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "f.pt").write_bytes(data)
    with pytest.raises(DataError, match=r"is not a torch.save file|is damaged"):
        load(tmp_path / "f.pt")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="There is no"):
        load(tmp_path / "f.pt")
    with pytest.raises(RegistryError, match="is not a file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RegistryError, match="is not a file"):
        load(tmp_path / "pipe")


def outcome(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """Return the experiments of a file, or None after a clear error; any other exception propagates."""
    try:
        found = []
        for each in experiments(read_content(path), "f"):
            images, _ = to_floats(to_images(each.images, SHAPE, "f"), "f")
            given = sorted_labels(len(images), CLASSES, "f") if each.labels is None else each.labels
            labels, _ = to_labels(given, len(images), CLASSES, "f")
            found.append((images, labels))
    except (DataError, RegistryError) as raised:
        message = str(raised)
    else:
        return found
    assert "\n" not in message
    assert len(message) < 1000
    return None


def write_npz(path: Path, compression: int) -> Path:
    """Write IMAGES and LABELS as an npz file of any compression that zip files have."""
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, array in {"images": IMAGES.numpy(), "labels": LABELS.numpy()}.items():
            stream = io.BytesIO()
            np.save(stream, array)
            made.writestr(f"{name}.npy", stream.getvalue())
    return path


def write_pictures(path: Path) -> Path:
    """Write a parquet file of pictures."""
    levels = np.arange(24, dtype=np.uint8).reshape(4, 3, 2, 1)
    path.write_bytes(write_parquet(levels, LABELS.numpy(), ["a", "b"]))
    return path


WRITERS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: save(authors(), path),
    "old": lambda path: save(authors(), path, new=False),
    "stored npz": lambda path: write_npz(path, zipfile.ZIP_STORED),
    "deflated npz": lambda path: write_npz(path, zipfile.ZIP_DEFLATED),
    "bzip2 npz": lambda path: write_npz(path, zipfile.ZIP_BZIP2),
    "lzma npz": lambda path: write_npz(path, zipfile.ZIP_LZMA),
    "parquet": write_pictures,
}


def test_too_little_memory_for_a_file_is_said_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decompressor(*_: object, **__: object) -> None:
        raise MemoryError

    path = write_npz(tmp_path / "set.npz", zipfile.ZIP_LZMA)
    monkeypatch.setattr(lzma, "LZMADecompressor", decompressor)
    with pytest.raises(DataError, match=r"There is too little memory to read .*set\.npz"):
        read_content(path)


@pytest.mark.parametrize(
    ("form", "count"),
    [
        *((form, 500 if form in ("zip", "old") else 100) for form in WRITERS),
        *(pytest.param(form, 5000, marks=pytest.mark.long) for form in WRITERS),
    ],
)
def test_mutated_files_give_a_clear_error_or_the_right_answer(
    tmp_path: Path, form: str, count: int, tell: Callable[[str], None]
) -> None:
    path = WRITERS[form](tmp_path / "file")
    whole, right = path.read_bytes(), outcome(path)
    assert right is not None
    source, counts = random.Random(0), {"error": 0, "answer": 0}
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(source.choice((1, 1, 1, 2, 8))):
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        if source.random() < 0.1:
            del data[source.randrange(len(data)) :]
        path.write_bytes(data)
        found = outcome(path)
        counts["error" if found is None else "answer"] += 1
        for images, labels in found or []:
            # Zip files have checksums; the others have none for the numbers.
            if form not in ("old", "parquet"):
                assert any(torch.equal(images, each) and torch.equal(labels, LABELS) for each, _ in right)
            assert images.shape == (len(labels), *SHAPE)
    tell(f"{count} mutated files, {form}: {counts}")
    assert counts["error"] > 20


_LOAD = """
from dsactl.synthetic.importing.torch_files import load

load(Path(sys.argv[1]))
print(*(peak(lambda: load(Path(path))) for path in sys.argv[2:]))
"""


@peak.needs_proc
def test_at_most_about_the_file_is_held(tmp_path: Path) -> None:
    small = save([IMAGES, LABELS], tmp_path / "small.pt")
    paths = [save([torch.zeros(2**24), LABELS], tmp_path / f"{new}.pt", new) for new in (True, False)]
    for path, rise in zip(paths, peak.run(_LOAD, small, *paths).split(), strict=True):
        assert int(rise) < 1.3 * path.stat().st_size


def test_big_endian_numbers(tmp_path: Path) -> None:
    numbers = {"data/0": np.arange(6, dtype=">f4").tobytes(), "byteorder": b"big"}
    assert load(archive(tmp_path / "f.pt", tensor(6, 0, (6,), (1,)), numbers)).tolist() == [0, 1, 2, 3, 4, 5]
    numbers["byteorder"] = b"middle"
    with pytest.raises(DataError, match="is damaged"):
        load(archive(tmp_path / "f.pt", tensor(6, 0, (6,), (1,)), numbers))


def test_records_that_nothing_refers_to_are_left(tmp_path: Path) -> None:
    path = archive(tmp_path / "f.pt", b"N", {"data/0": b"x" * 100, "constants.pkl": b"\x80\x02N.", "code/x.py": b"1"})
    assert load(path) is None
    assert io.BytesIO(path.read_bytes()).read(2) == b"PK"
