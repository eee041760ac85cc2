"""What a file has in it: its kind by its first bytes, and its content as lists, dicts and arrays, never unpickled."""

import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from dsactl.errors import DataError, is_out_of_memory
from dsactl.synthetic.importing.torch_files import LEGACY_MAGIC, ZIP_MAGIC
from dsactl.synthetic.importing.torch_files import load as load_torch
from registry.importing import check_file, read_file
from registry.numpy_files import NPY_MAGIC, read_npy, read_npz
from registry.tensors import MAX_HEADER_BYTES, decode, has_manifest

PARQUET_MAGIC = b"PAR1"
_KNOWN = "safetensors, .pt or .pth of torch.save, npz, npy, parquet of dsactl, or a folder of CLASS/*.png"
_AGAIN = "Save it as one of those: torch.save([images, labels], FILE)."

_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"RIFF")


def is_own_safetensors(path: Path) -> bool:
    """Return whether a file is one of safetensors with a manifest."""
    return has_manifest(_begins(path, MAX_HEADER_BYTES + 8))


def read_content(path: Path) -> Any:
    """Read a file: tensors, arrays, lists, dicts, numbers and strings.

    Raises:
        registry.RegistryError: it is not a file, or too large.
        DataError: it is something else, or damaged, or there is too little memory for it.
    """
    check_file(path)
    try:
        return _read(path, _begins(path))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DataError(f"There is too little memory to read {path}.", "Is it a condensed set?") from error


def _read(path: Path, begins: bytes) -> Any:
    """Read a file by its first bytes."""
    if begins[8:9] == b"{" or (path.suffix.lower() == ".safetensors" and not _is_text(begins)):
        return _read_safetensors(path)
    if begins.startswith(NPY_MAGIC):
        return read_npy(path)
    if begins.startswith(PARQUET_MAGIC):
        from registry.parquet import read_parquet

        return read_parquet(path)
    if begins.startswith(ZIP_MAGIC) and _has_arrays(path):
        return read_npz(path)
    if begins.startswith((ZIP_MAGIC, LEGACY_MAGIC)):
        return load_torch(path)
    what, hint = _something_else(begins)
    raise DataError(f"{path} {what}, not a set: {_KNOWN}.", hint)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    data = read_file(path)
    try:
        return load_safetensors(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        decode(data, str(path))  # raises with a better message
        raise DataError(f"{path} is damaged ({error!s:.100}).") from error


def _begins(path: Path, count: int = 512) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def _has_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/" not in name and name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return False


def _something_else(begins: bytes) -> tuple[str, str]:
    """Return what a file is that cannot be imported, after its name, and what to do."""
    text = begins.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not begins:
        return "is empty", "Get another copy from its source."
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS", "Fetch the file itself: git lfs pull."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page", "Download the file itself, not the page that shows it."
    if begins.startswith(_PACKED) or begins[257:262] == b"ustar":
        return "is a packed archive", "Unpack it, and import what is in it."
    if begins.startswith(_PICTURES):
        return "is a picture", "Import a folder of CLASS/*.png; a picture of all images cannot be taken apart."
    if begins.startswith(b"\x89HDF"):
        return "is an HDF5 file", "Save its images and labels with numpy.savez(FILE, images=…, labels=…)."
    if begins.startswith(b"MATLAB"):
        return "is a MATLAB file", "Save its images and labels with numpy.savez(FILE, images=…, labels=…)."
    if begins[:1] == b"\x80" and begins[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a pickle, which is not read", f"Load it where you trust it. {_AGAIN}"
    if _is_text(begins):
        return "is a text file", _AGAIN
    return "is of no known kind", _AGAIN


def _is_text(begins: bytes) -> bool:
    if not begins or b"\x00" in begins:
        return False
    try:
        begins[:-4].decode() if len(begins) == 512 else begins.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(begins) - 8
    return True
