"""Atomic file writes: to a temporary file in the same folder, flushed to disk, then renamed."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

from registry.errors import CorruptError, StoreError
from registry.notices import notify_once

_TEMPORARY = ".tmp-"


def is_temporary(name: str) -> bool:
    """Return whether a file name is that of an unfinished write."""
    return name.startswith(_TEMPORARY)


def _temporary(folder: Path) -> Path:
    return folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"


def write_atomically(path: Path, data: bytes) -> None:
    """Write or replace a file; a crash at any moment leaves either the old or the new file complete.

    Raises:
        StoreError: the disk is full, or the folder is not writable.
    """
    try:
        _make_folder(path.parent)
        temporary = _temporary(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                _flush(file.fileno(), path, WITHOUT_FSYNC)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error.strerror or error}.", write_hint(path.parent, error)) from error


def write_folder_atomically(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write or replace a folder of files, never a part of it. It is not flushed to disk.

    Args:
        folder: path of the folder.
        files: contents by path within the folder.

    Raises:
        StoreError: the disk is full, or the path is not writable; the error has no hint.
    """
    try:
        _make_folder(folder.parent)
        with _temporary_sibling(folder) as made, _temporary_sibling(folder) as old:
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
def _temporary_sibling(folder: Path) -> Iterator[Path]:
    """Yield an unused path in the same parent folder; remove whatever is there at the end."""
    path = _temporary(folder.parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def read_limited(path: Path, limit: int) -> bytes:
    """Read a file of limited size.

    Raises:
        CorruptError: it has more than `limit` bytes.
        OSError: it cannot be read, in particular FileNotFoundError.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CorruptError(f"{path} has more than {limit:,} bytes, the limit for files of its kind.")
    return data


def remove(path: Path) -> None:
    """Remove a file if it exists, and flush the removal to disk.

    Raises:
        StoreError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
        _flush_folder(path.parent)
    except FileNotFoundError:
        return  # the folder does not exist either
    except OSError as error:
        raise StoreError(f"Cannot remove {path}: {error.strerror or error}.", "Check its permissions.") from error


def write_cache(path: Path, data: bytes) -> None:
    """Write a cache file atomically, without flushing it to disk; ignore failures."""
    temporary = _temporary(path.parent)
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, and flush each into its parent."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:  # a file, of which "File exists" would say the wrong thing
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can open a folder, and the file system can flush one."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not be listed
        return
    try:
        _flush(handle, folder, WITHOUT_FOLDER_FSYNC)
    finally:
        os.close(handle)


WITHOUT_FSYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
WITHOUT_FOLDER_FSYNC = {*WITHOUT_FSYNC, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.EIO}
"""What network shares, folders shared with virtual machines and FUSE answer for folders. EIO for a file is a fault."""


WITHOUT_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The disk is full, or a limit of the user or of the file system is reached."""


def _flush(handle: int, path: Path, unable: Container[int]) -> None:
    """Flush a file or folder to disk; where the file system cannot, say so once and go on."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in unable:
            raise
        folder = path if path.is_dir() else path.parent
        notify_once(
            f"The file system here cannot flush {'folders' if folder == path else 'files'} to disk ({error.strerror}; "
            "a network share?): a power cut may lose what was stored last."
        )


def write_hint(folder: Path, error: OSError) -> str:
    """Return what to do if a file in a folder of a store cannot be written."""
    if error.errno in WITHOUT_ROOM:
        return "Free space or set `home` to another folder."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Raise the limit of open files: ulimit -n 4096"
    hint = "Set `home` to a folder that you can write to."
    with contextlib.suppress(OSError):
        if error.errno == errno.EACCES and os.name == "posix" and folder.stat().st_uid != os.geteuid():
            hint += " To share one: a group for all its users, chmod 2775, and umask 002."
    return hint


def sha256(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
