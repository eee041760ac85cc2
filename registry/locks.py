"""Locks between processes, also on file systems without flock."""

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import StoreError
from registry.notices import notify_once

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy

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


def marker(path: Path) -> Path:
    """Return the file that exists while a lock is held on a file system without flock."""
    return path.with_name(f"{path.name}.held")
