"""A folder of this machine that a worker may have as well: on the same machine, or where machines share their files.

A path says nothing about that; a file in the folder that is the same one, by its inode and its time, does.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsactl.engine.locks import writing_to

_WITNESS = ".here"


@dataclass(frozen=True)
class SharedFolder:
    """A folder, as a worker is told of it; see `offer`.

    Attributes:
        path: where it lies here.
        witness: inode and time of a file in it.
    """

    path: str
    witness: tuple[int, int]

    @contextlib.contextmanager
    def use(self) -> Iterator[Path]:
        """The folder itself where it is here too, to be written to; else an empty one that is removed in the end."""
        if self._is_here() and os.access(self.path, os.W_OK):
            yield Path(self.path)
        else:
            with tempfile.TemporaryDirectory() as place:
                yield Path(place)

    def _is_here(self) -> bool:
        try:
            return _witness(Path(self.path)) == self.witness
        except OSError:
            return False


def offer(path: Path) -> SharedFolder:
    """Let workers find a folder, which is made if it is not there.

    Raises:
        StoreError: it cannot be written to.
    """
    with writing_to(path):
        with contextlib.suppress(FileExistsError):
            (path / _WITNESS).touch(exist_ok=False)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return SharedFolder(str(path), _witness(path))


def _witness(path: Path) -> tuple[int, int]:
    found = (path / _WITNESS).stat()
    return found.st_ino, found.st_mtime_ns
