"""Reading of untrusted npy and npz files, without pickle and without trusting a size."""

import io
import lzma
import math
import warnings
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from registry.errors import CorruptError, RegistryError
from registry.importing import MAX_BYTES, check_file, read_file
from registry.tensors import Array

NPY_MAGIC = b"\x93NUMPY"
_ENDING = ".npy"
_INVALID = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path) -> Array:
    """Read an array of numbers or strings.

    Raises:
        RegistryError: it is not a file, is too large, cannot be read, or has Python objects.
        CorruptError: it is damaged.
    """
    return _array(read_file(path), str(path))


def read_npz(path: Path) -> dict[str, Array]:
    """Read the arrays of an npz file by name, compressed or not.

    Raises:
        RegistryError, CorruptError: see `read_npy`; all arrays together are limited too.
    """
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            records = [record for record in archive.infolist() if record.filename.endswith(_ENDING)]
            if sum(record.file_size for record in records) > MAX_BYTES:
                raise RegistryError(
                    f"The arrays of {path} have more than {MAX_BYTES:,} bytes.", "Is it a condensed set?"
                )
            return {
                record.filename.removesuffix(_ENDING): _array(archive.read(record), f"{path}, {record.filename}")
                for record in records
            }
    except OSError as error:
        raise RegistryError(f"Cannot read {path}: {error.strerror or error}.") from error
    except _INVALID as error:
        raise CorruptError(f"{path} is damaged ({error!s:.150}).", "Get another copy from its source.") from error


def _array(data: bytes, where: str) -> Array:
    """Return the array in the bytes of an npy file."""
    stream = io.BytesIO(data)
    try:
        read_header = _HEADERS[np.lib.format.read_magic(stream)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file of Python 2 is read as well
            shape, fortran, dtype = read_header(stream)
    except (ValueError, LookupError, TypeError, OverflowError, SyntaxError, RecursionError, TokenError) as error:
        raise CorruptError(f"{where} is damaged: its header is not one of numpy.") from error
    if dtype.kind not in "fiubU" or (dtype.kind != "U" and dtype.itemsize > 8):
        what = "Python objects, which are not read" if dtype.hasobject else f"values of type {dtype}"
        raise RegistryError(f"{where} has {what}.", "Save arrays of numbers: images.astype('float32').")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell() or min(shape, default=0) < 0:
        raise CorruptError(f"{where} is damaged: it does not have the {math.prod(shape)} values of its header.")
    if not math.prod(shape):
        return np.zeros(shape, dtype)
    array = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")
