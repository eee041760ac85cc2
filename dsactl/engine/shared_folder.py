"""A local folder that a worker may share: on the same machine, or through a shared file system.

The path alone does not prove that it is the same folder; a marker file with the same inode and modification time does.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsactl.engine.locks import writable_folder

_MARKER = ".here"


@dataclass(frozen=True)
class SharedFolder:
    """A folder as it is sent to a worker (see `offer`).

    Attributes:
        path: the folder's path on the sender's machine.
        marker_stat: inode and modification time of the marker file in it.
    """

    path: str
    marker_stat: tuple[int, int]

    @contextlib.contextmanager
    def use(self) -> Iterator[Path]:
        """Yield the folder if it is reachable and writable here; otherwise a temporary one, removed afterwards."""
        if self._is_reachable() and os.access(self.path, os.W_OK):
            yield Path(self.path)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                yield Path(scratch)

    def _is_reachable(self) -> bool:
        try:
            return _marker_stat(Path(self.path)) == self.marker_stat
        except OSError:
            return False


def offer(path: Path) -> SharedFolder:
    """Prepare a folder for sharing with workers; it is created if it does not exist.

    Raises:
        StoreError: the folder cannot be written to.
    """
    with writable_folder(path):
        with contextlib.suppress(FileExistsError):
            (path / _MARKER).touch(exist_ok=False)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return SharedFolder(str(path), _marker_stat(path))


def _marker_stat(path: Path) -> tuple[int, int]:
    found = (path / _MARKER).stat()
    return found.st_ino, found.st_mtime_ns
