"""Files of torch.save that come from strangers, in the zip format and in the older one of torch 1.5 and before.

What a file would do is found out first (`pickle_check`), then what was checked is loaded with `weights_only`. At most
about twice the file's size is held in memory.
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
from dsactl.synthetic.importing.pickle_check import LONGEST, NUMPY_NAMES, Storage, check, check_keys
from registry.importing import check_file

ZIP_BEGINS = b"PK\x03\x04"
OLD_BEGINS = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
"""The pickled magic number and version of the older format."""


class _Number:
    """Stands in for numpy's numbers and their types, so that nothing of numpy is called by a pickle."""

    def __init__(self, *parts: Any) -> None:
        """Take whatever the number is made of, and keep nothing."""

    def __setstate__(self, state: Any) -> None:
        """Keep nothing."""


def load(path: Path) -> Any:
    """What torch.save wrote: tensors on the CPU in lists, dicts and tuples.

    numpy's numbers, the authors' accuracies, are not read: objects without content stand in for them.

    Raises:
        registry.RegistryError: it is no file, or too large.
        DataError: it is no such file, is damaged, or holds something else.
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
        # torch's own words advise to load the file with everything allowed.
        raise _damaged(str(path), "its pickle makes no sense") from error


def check_is_torch(path: Path) -> None:
    """Refuse what is no file of torch.save by its first bytes, before anything else is asked.

    Raises:
        DataError: it is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(len(OLD_BEGINS))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error
    if not begins.startswith(ZIP_BEGINS) and begins != OLD_BEGINS:
        raise _no_file_of_torch(str(path))


def _no_file_of_torch(where: str) -> DataError:
    return DataError(
        f"{where} is neither a safetensors file nor one of torch.save.",
        "dsactl import takes those, and folders of CLASS/*.png.",
    )


def _damaged(where: str, why: object) -> DataError:
    reason = " ".join(str(why).split())
    return DataError(f"{where} is damaged ({reason:.150}).", "Get it again from where it came from.")


def _checked(file: IO[bytes], where: str) -> IO[bytes]:
    """A file in memory with nothing in it but what was checked."""
    begins = file.read(len(OLD_BEGINS))
    file.seek(0)
    if begins.startswith(ZIP_BEGINS):
        return _checked_zip(file, where)
    if begins == OLD_BEGINS:
        return _checked_old(file, where)
    raise _no_file_of_torch(where)


def _checked_zip(file: IO[bytes], where: str) -> IO[bytes]:
    """The records of a zip that its pickle refers to, as a zip of their own: what torch reads is what was checked.

    Every record must be whole by its checksum, stored and not compressed.
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
    """The folder that all of torch's records are in, and their sizes by their names in it."""
    records = {record.filename: record for record in archive.infolist()}
    if len(records) != len(archive.infolist()) or sum(record.file_size for record in records.values()) > size:
        raise DataError(f"{where} is not read: its records overlap.")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records.values()):
        raise DataError(f"{where} is not read: it is compressed, which torch.save never does.")
    pickles = [name for name in records if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise DataError(f"{where} is a zip file, but not one of torch.save.")
    if records[pickles[0]].file_size > LONGEST:
        raise DataError(f"{where} is not read: it holds more than tensors and a few numbers.")
    folder = pickles[0].removesuffix("data.pkl")
    return folder, {n.removeprefix(folder): r.file_size for n, r in records.items() if n.startswith(folder)}


def _compare_sizes(sizes: dict[str, int], storages: dict[str, Storage], where: str) -> None:
    for key, storage in storages.items():
        if sizes.get(f"data/{key}") != storage.bytes:
            raise _damaged(where, f"the record data/{key} is not of {storage.bytes} bytes")


def _checked_old(file: IO[bytes], where: str) -> IO[bytes]:
    """The whole file, which has five pickles (magic number, version, machine, content, keys) and then the numbers.

    Nothing in this format tells whether the numbers themselves are whole.
    """
    whole = io.BytesIO(file.read())
    size = len(whole.getbuffer())
    pickles = io.BytesIO(whole.read(3 * LONGEST))
    pickles.seek(len(OLD_BEGINS))
    check(pickles, where)
    storages = check(pickles, where)
    keys = check_keys(pickles, where)
    numbers = sum(8 + storage.bytes for storage in storages.values())
    if sorted(keys) != sorted(storages) or pickles.tell() + numbers != size:
        raise _damaged(where, f"{len(storages)} tensors need {numbers} bytes of numbers")
    whole.seek(0)
    return whole
