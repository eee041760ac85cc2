"""Files that are whole or not there: written beside, flushed to disk, renamed."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from registry.errors import CorruptError, StoreError

_TEMPORARY = ".tmp-"


def is_temporary(name: str) -> bool:
    """Whether a file of this name is one that a write had begun."""
    return name.startswith(_TEMPORARY)


def _temporary(folder: Path) -> Path:
    return folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what is there; a crash at any moment leaves the old or the new file whole.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    try:
        _make_folder(path.parent)
        temporary = _temporary(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"Cannot write {path}: {error.strerror or error}.", "Free space or set `home` to another folder."
        ) from error


def write_folder_atomically(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder of files in place, and what was there away; never a part of either. It is not flushed.

    Args:
        folder: its path.
        files: contents by their paths in it.

    Raises:
        StoreError: the disk is full, or the place cannot be written to; it says no more than that.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _beside(folder) as made, _beside(folder) as old:
            for name, content in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(content)
            if not os.path.lexists(folder):
                made.rename(folder)
                return
            folder.rename(old)
            try:
                made.rename(folder)
            except BaseException:
                old.rename(folder)
                raise
    except OSError as error:
        raise StoreError(f"Cannot write {folder}: {error.strerror or error}.") from error


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A name beside a folder; what is there at the end is removed."""
    path = _temporary(folder.parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def read_limited(path: Path, limit: int) -> bytes:
    """A file's bytes.

    Raises:
        CorruptError: it has more of them than it may.
        OSError: as it comes, FileNotFoundError above all.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CorruptError(f"{path} has more than {limit:,} bytes, which no file of its kind has.")
    return data


def remove(path: Path) -> None:
    """Take a file away, if it is there, and flush that to disk.

    Raises:
        StoreError: it cannot be taken away.
    """
    try:
        path.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except FileNotFoundError:
        return  # nor is its folder
    except OSError as error:
        raise StoreError(f"Cannot remove {path}: {error.strerror or error}.", "Is it yours to write to?") from error


def write_cache(path: Path, data: bytes) -> None:
    """Put what can be made again at `path`, whole or not at all; not flushed, and given up without a word."""
    temporary = _temporary(path.parent)
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed into the one that it is in."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system can open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()
