"""Files that are whole or not there: written beside, flushed to disk, renamed."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from registry.errors import StoreError


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what is there; a crash at any moment leaves the old or the new file whole.

    Raises:
        StoreError: the disk is full, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
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
            f"Cannot write {path}: {error.strerror or error}.", "Free space or set DSACTL_HOME to another folder."
        ) from error


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
