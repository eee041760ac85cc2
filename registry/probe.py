"""What the file system of a folder can do: locks, and flushing to disk. Tried on a file without a name."""

import errno
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from registry.files import WITHOUT_FOLDER_FSYNC, WITHOUT_FSYNC
from registry.locks import WITHOUT_FLOCK

_FILES = 5


@dataclass(frozen=True)
class FileSystem:
    """Abilities of a file system.

    Attributes:
        flush_seconds: median time of flushing a small file to disk; None if files cannot be flushed.
        flushes_folders: whether a new name in a folder can be flushed to disk.
        locks: "flock", "files" where a file has to stand for a lock, or "none" where no lock is granted.
    """

    flush_seconds: float | None
    flushes_folders: bool
    locks: Literal["flock", "files", "none"]


def probe(folder: Path) -> FileSystem:
    """Try what the file system of a folder can do. Nothing stays behind.

    Raises:
        OSError: no file can be written in the folder.
    """
    flushes: list[float | None] = []
    for _ in range(_FILES):
        # Without a name on Linux; elsewhere the prefix is that of files which a store ignores.
        with tempfile.TemporaryFile(dir=folder, prefix=".tmp-") as file:
            file.write(bytes(4096))
            file.flush()
            flushes.append(_flushed(file.fileno()))
            locks = _locks(file.fileno())
    measured = [each for each in flushes if each is not None]
    median = statistics.median(measured) if len(measured) == len(flushes) else None
    return FileSystem(median, _flushes_folder(folder), locks)


def _flushed(handle: int) -> float | None:
    """Return the seconds that flushing a file takes; None if the file system cannot."""
    began = time.perf_counter()
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in WITHOUT_FSYNC:
            return None
        raise
    return time.perf_counter() - began


def _flushes_folder(folder: Path) -> bool:
    if os.name != "posix":
        return True  # folders need no flush there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in WITHOUT_FOLDER_FSYNC:
            return False
        raise
    finally:
        os.close(handle)
    return True


def _locks(handle: int) -> Literal["flock", "files", "none"]:
    if sys.platform == "win32":
        return "flock"
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.ENOLCK:
            return "none"
        if error.errno in WITHOUT_FLOCK:
            return "files"
        raise
    return "flock"
