"""Locks between processes, in folders of the store's home that are created on demand."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import BaseFileLock, Timeout

import registry
from registry.files import write_hint
from registry.locks import MOMENT_SECONDS, acquire


@contextlib.contextmanager
def writable_folder(folder: Path) -> Iterator[None]:
    """Create a folder if it does not exist, and report a failed write inside the context as a store error.

    Raises:
        StoreError: the folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise registry.StoreError(
            f"Cannot write to {folder}: {error.strerror or error}.",
            write_hint(folder, error),
        ) from error


def hold(path: Path, waiting: Callable[[], None] | None = None) -> BaseFileLock:
    """Acquire a lock and return it; it is held until released.

    Args:
        path: the lock's file.
        waiting: called before waiting for another process; None to raise instead of waiting.

    Raises:
        Timeout: another process holds the lock, and `waiting` is None.
        StoreError: the lock's folder cannot be written to.
    """
    with writable_folder(path.parent):
        try:
            lock: BaseFileLock = acquire(path, timeout=MOMENT_SECONDS).lock
        except Timeout:
            if waiting is None:
                raise
            waiting()
            lock = acquire(path).lock
        return lock
