"""Locks between processes, also on file systems without flock."""

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import StoreError
from registry.notices import notify_once

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy

if sys.platform != "win32":
    import fcntl

MOMENT_SECONDS = 0.2
"""How long one who wants a lock at once should wait: `is_held` may have it for a moment."""
WITHOUT_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


def acquire(path: Path, timeout: float = -1, poll_interval: float = 0.05) -> "AcquireReturnProxy[Any]":
    """Acquire the lock of a file, which is created if it does not exist.

    Where the file system has no flock, such as Lustre without it, the lock is a second file that exists while the lock
    is held (`marker`). One that a killed process of this machine left behind is removed; one of another machine stays.

    Args:
        path: the file; its folder exists.
        timeout: seconds to wait for another process; less than 0 to wait for ever.
        poll_interval: seconds between attempts.

    Returns:
        The lock, which a `with` block releases at its end, as `lock` does by `release()`.

    Raises:
        filelock.Timeout: another process holds the lock.
        StoreError: the file system has locks and cannot grant any, as NFS without its lock service; another kind of
            lock would not be safe, since other processes may get one of this kind.
        OSError: the file cannot be created or written to.
    """
    from filelock import FileLock, SoftFileLock, Timeout  # a slow import, for writes only

    try:
        return FileLock(path, fallback_to_soft=False).acquire(timeout=timeout, poll_interval=poll_interval)
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        if error.errno == errno.ENOLCK:
            raise StoreError(
                f"The file system of {path.parent} does not grant locks ({error.strerror}).",
                "Start its lock service (for NFS, lockd), or set `home` to a folder on another file system.",
            ) from error
        if error.errno not in WITHOUT_FLOCK:
            raise
    notify_once(
        "The file system here has no flock: a lock is a file named *.held, which stays if its process is killed on "
        "another machine."
    )
    return SoftFileLock(marker(path)).acquire(timeout=timeout, poll_interval=poll_interval)


def is_held(path: Path) -> bool:
    """Return whether another process, or another lock of this one, holds the lock of a file, without creating any.

    To find it out, the lock is taken for a moment where it is free (`MOMENT_SECONDS`). Where that is not permitted, a
    lock is taken for free, and one whose `marker` exists for held.
    """
    if sys.platform == "win32" or marker(path).exists():
        return _is_held_without_flock(path)
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        finally:
            os.close(handle)
    return False


def _is_held_without_flock(path: Path) -> bool:
    """Return whether a lock of another kind is held; a marker that a killed process left is removed."""
    from filelock import FileLock, SoftFileLock, Timeout

    try:
        if marker(path).exists():
            SoftFileLock(marker(path)).acquire(timeout=0).lock.release()
        elif path.exists():
            FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return True
    except OSError:
        return marker(path).exists()
    return False


def marker(path: Path) -> Path:
    """Return the file that exists while a lock is held on a file system without flock."""
    return path.with_name(f"{path.name}.held")
