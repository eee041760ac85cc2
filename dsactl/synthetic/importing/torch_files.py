"""Untrusted torch.save files, in the zip format and in the older format of torch 1.5 and before.

A pickle is first checked statically (`pickle_check`); only what was checked is loaded, with `weights_only`. Memory use
is at most about twice the file's size.
"""

import io
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from dsactl.errors import DataError
from dsactl.synthetic.importing.pickle_check import MAX_PICKLE_BYTES, NUMPY_NAMES, Storage, check, check_keys
from registry.importing import check_file

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
"""The pickled magic number and version of the older format."""


class _Number:
    """A stand-in for numpy's numbers and their types, so that a pickle calls nothing of numpy."""

    def __init__(self, *parts: Any) -> None:
        """Discard the arguments."""

    def __setstate__(self, state: Any) -> None:
        """Discard the state."""


def load(path: Path) -> Any:
    """Load a torch.save file: tensors on the CPU in lists, dicts and tuples.

    Numpy's numbers, the authors' accuracies, are not read: empty objects stand in for them.

    Raises:
        registry.RegistryError: it is not a file, or too large.
        DataError: it is not a torch.save file, is damaged, or contains something else.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            checked = _checked(file, str(path))
            with torch.serialization.safe_globals([(_Number, name.replace(" ", ".")) for name in NUMPY_NAMES]):
                return torch.load(checked, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError, AssertionError) as error:
        raise _damaged(str(path), error) from error
    except (pickle.UnpicklingError, struct.error, OverflowError) as error:
        # torch's own message advises loading the file without restrictions.
        raise _damaged(str(path), "its pickle is invalid") from error


def check_is_torch(path: Path) -> None:
    """Check by its first bytes that a file is one of torch.save, before anything else is checked.

    Raises:
        DataError: it is not, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not begins.startswith(ZIP_MAGIC) and begins != LEGACY_MAGIC:
        raise _not_a_torch_file(str(path))


def _not_a_torch_file(where: str) -> DataError:
    return DataError(
        f"{where} is neither a safetensors file nor a torch.save file.",
        "Only those can be imported, and folders of CLASS/*.png.",
    )


def _damaged(where: str, why: object) -> DataError:
    reason = " ".join(str(why).split())
    return DataError(f"{where} is damaged ({reason:.150}).", "Get another copy from its source.")


def _checked(file: IO[bytes], where: str) -> IO[bytes]:
    """Return a file in memory that contains only what was checked."""
    begins = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if begins.startswith(ZIP_MAGIC):
        return _checked_zip(file, where)
    if begins == LEGACY_MAGIC:
        return _checked_legacy(file, where)
    raise _not_a_torch_file(where)


def _checked_zip(file: IO[bytes], where: str) -> IO[bytes]:
    """Copy the records that the pickle refers to into a new zip, so that torch reads only what was checked.

    Every record must match its checksum and be stored uncompressed.
    """
    made = io.BytesIO()
    try:
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as copy:
            folder, sizes = _records(archive, size, where)
            storages = check(io.BytesIO(archive.read(f"{folder}data.pkl")), where)
            _compare_sizes(sizes, storages, where)
            wanted = {"data.pkl", "byteorder", "version", *(f"data/{key}" for key in storages)}
            for name in sorted(wanted & sizes.keys()):
                with archive.open(folder + name) as source, copy.open(f"archive/{name}", "w") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error, ValueError) as error:
        raise _damaged(where, error) from error
    made.seek(0)
    return made


def _records(archive: zipfile.ZipFile, size: int, where: str) -> tuple[str, dict[str, int]]:
    """Return the folder that contains all of torch's records, and the records' sizes by name."""
    records = {record.filename: record for record in archive.infolist()}
    if len(records) != len(archive.infolist()) or sum(record.file_size for record in records.values()) > size:
        raise DataError(f"{where} is not read: its records overlap.")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records.values()):
        raise DataError(f"{where} is not read: it is compressed, which torch.save never does.")
    pickles = [name for name in records if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise DataError(f"{where} is a zip file, but not one of torch.save.")
    if records[pickles[0]].file_size > MAX_PICKLE_BYTES:
        raise DataError(f"{where} is not read: it contains more than tensors and a few numbers.")
    folder = pickles[0].removesuffix("data.pkl")
    return folder, {n.removeprefix(folder): r.file_size for n, r in records.items() if n.startswith(folder)}


def _compare_sizes(sizes: dict[str, int], storages: dict[str, Storage], where: str) -> None:
    for key, storage in storages.items():
        if sizes.get(f"data/{key}") != storage.bytes:
            raise _damaged(where, f"the record data/{key} does not have {storage.bytes} bytes")


def _checked_legacy(file: IO[bytes], where: str) -> IO[bytes]:
    """Return the whole file after checking its five pickles (magic number, version, machine, content, keys).

    The numbers follow the pickles; this format has no checksum for them.
    """
    whole = io.BytesIO(file.read())
    size = len(whole.getbuffer())
    pickles = io.BytesIO(whole.read(3 * MAX_PICKLE_BYTES))
    pickles.seek(len(LEGACY_MAGIC))
    check(pickles, where)
    storages = check(pickles, where)
    keys = check_keys(pickles, where)
    numbers = sum(8 + storage.bytes for storage in storages.values())
    if sorted(keys) != sorted(storages) or pickles.tell() + numbers != size:
        raise _damaged(where, f"{len(storages)} tensors need {numbers} bytes of numbers")
    whole.seek(0)
    return whole
