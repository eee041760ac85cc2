"""Reading of untrusted torch.save files, in the zip format and in the older format of torch 1.5 and before.

The pickles in them are interpreted by `pickle_reader`, which runs none of their code. Memory use is at most about that
of the file, and `references` limits what a reader can make of it.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from dsactl.errors import DataError
from dsactl.synthetic.importing.pickle_reader import Storages, read_pickle
from dsactl.synthetic.importing.references import check_references
from registry.importing import check_file

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
"""The pickled magic number and version of the older format."""


def load(path: Path) -> Any:
    """Load a torch.save file: tensors on the CPU in lists, dicts and tuples (see `read_pickle`).

    Raises:
        registry.RegistryError: it is not a file, or too large.
        DataError: it is not a torch.save file, is damaged, contains something else, or the same many times.
    """
    check_file(path)
    where = str(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            begins = file.read(len(LEGACY_MAGIC))
            if begins.startswith(ZIP_MAGIC):
                content = _load_zip(file, size, where)
            elif begins == LEGACY_MAGIC:
                content = _load_legacy(file, size, where)
            else:
                raise DataError(f"{where} is not a torch.save file.")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    check_references(content, where)
    return content


def _damaged(where: str, why: object) -> DataError:
    reason = " ".join(str(why).split())
    return DataError(f"{where} is damaged ({reason:.150}).", "Get another copy from its source.")


def _load_zip(file: IO[bytes], size: int, where: str) -> Any:
    """Load the zip format; every record must match its checksum and be stored uncompressed."""
    try:
        with zipfile.ZipFile(file) as archive:
            folder, sizes = _records(archive, size, where)
            storages = Storages(2 * size)
            content = read_pickle(io.BytesIO(archive.read(f"{folder}data.pkl")), storages, where)
            order = archive.read(f"{folder}byteorder") if "byteorder" in sizes else b"little"
            if order not in (b"little", b"big"):
                raise _damaged(where, "its byte order is unknown")
            for key, numbers in storages.by_key.items():
                if sizes.get(f"data/{key}") != numbers.nbytes:
                    raise _damaged(where, f"the record data/{key} does not have {numbers.nbytes} bytes")
                with archive.open(f"{folder}data/{key}") as record:
                    _fill(numbers, record, swapped=order == b"big")
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, struct.error, ValueError, LookupError) as error:
        raise _damaged(where, error) from error
    return content


def _records(archive: zipfile.ZipFile, size: int, where: str) -> tuple[str, dict[str, int]]:
    """Return the folder that contains all of torch's records, and the records' sizes by name."""
    records = {record.filename: record for record in archive.infolist()}
    pickles = [name for name in records if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise DataError(f"{where} is a zip file, but not one of torch.save.", "Unpack it, and import what is in it.")
    if len(records) != len(archive.infolist()) or sum(record.file_size for record in records.values()) > size:
        raise DataError(f"{where} is not read: its records overlap.")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records.values()):
        raise DataError(f"{where} is not read: it is compressed, as TorchScript does and torch.save does not.")
    folder = pickles[0].removesuffix("data.pkl")
    return folder, {n.removeprefix(folder): r.file_size for n, r in records.items() if n.startswith(folder)}


def _fill(numbers: Tensor, source: IO[bytes], *, swapped: bool) -> None:
    """Read the numbers of a storage from a stream.

    Raises:
        EOFError: the stream ends before.
    """
    content = numbers.view(torch.uint8)
    whole, done = content.numpy().data, 0
    while done < len(whole):
        count = source.readinto(whole[done : done + 2**20])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("it ends in the numbers of a tensor")
        done += count
    if swapped and done:
        each = content.view(-1, numbers.itemsize)
        each.copy_(each.flip(1).clone())


def _load_legacy(file: IO[bytes], size: int, where: str) -> Any:
    """Load the older format: pickles of magic number, version, machine, content and keys, then the numbers by key.

    This format has no checksum.
    """
    file.seek(len(LEGACY_MAGIC))
    storages = Storages(2 * size)
    machine = read_pickle(file, storages, where)
    content = read_pickle(file, storages, where)
    keys = read_pickle(file, storages, where)
    big = isinstance(machine, dict) and machine.get("little_endian") is False
    needed = sum(8 + numbers.nbytes for numbers in storages.by_key.values())
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _damaged(where, "its keys are not strings")
    if sorted(keys) != sorted(storages.by_key):
        raise _damaged(where, "its keys are not those of its tensors")
    if file.tell() + needed != size:
        raise _damaged(where, f"{len(keys)} tensors need {needed} bytes of numbers")
    for key in keys:
        numbers = storages.by_key[key]
        count = int.from_bytes(file.read(8), "big" if big else "little")
        if count != len(numbers):
            raise _damaged(where, f"a tensor of {len(numbers)} numbers has {count}")
        _fill(numbers, file, swapped=big)
    return content
