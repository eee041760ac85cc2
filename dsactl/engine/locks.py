"""Locks between processes, in folders of the store's home that are made when they are needed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

import registry


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Make a folder if it is not there, and say of what is done to it when it cannot be written to.

    Raises:
        StoreError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise registry.StoreError(
            f"Cannot write to {folder}: {error.strerror or error}.", "Set DSACTL_HOME to a folder of yours."
        ) from error


def hold(path: Path, waiting: Callable[[], None] | None = None) -> BaseFileLock:
    """Hold a lock until it is released.

    Args:
        path: its file.
        waiting: called before another process is waited for; None for not to wait.

    Raises:
        Timeout: another process holds it, and is not waited for.
        StoreError: its folder cannot be written to.
    """
    with writing_to(path.parent):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waiting is None:
                raise
            waiting()
            lock.acquire(timeout=-1)
        return lock
