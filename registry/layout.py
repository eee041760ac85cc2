"""Where things lie under a store's folder, and what lies there. Nothing is read or written here.

store.json                                the schema of this layout
lock                                      held while something is written
newest.json                               what was stored last; a cache
index.json                                what `entries` lists; a cache
blobs/DIGEST.safetensors                  a file under the SHA-256 of its bytes
sets/NAMESPACE/NAME/VERSION.json          a version: its manifest and files; `_` stands for no namespace
sets/NAMESPACE/NAME/VERSION.png           its picture
sets/NAMESPACE/NAME/name.json             the name's tags, and the number below which none is given again
evaluations/DIGEST/RECORD.json            results, by the digest of the content they were measured on
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from registry.errors import BadNameError
from registry.names import SetName, is_part

NO_NAMESPACE = "_"


class Layout:
    """The paths of a store.

    Args:
        home: its folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.marker = home / "store.json"
        self.lock = home / "lock"
        self.newest = home / "newest.json"
        self.index = home / "index.json"
        self.blobs = home / "blobs"
        self.sets = home / "sets"
        self.evaluations = home / "evaluations"

    def blob(self, digest: str) -> Path:
        """The file with this SHA-256."""
        return self.blobs / f"{digest}.safetensors"

    def folder(self, name: SetName) -> Path:
        """The folder of a name.

        Raises:
            BadNameError: it is a link that leads out of the store.
        """
        folder = self.sets / (name.namespace or NO_NAMESPACE) / name.name
        if not folder.resolve().is_relative_to(self.sets.resolve()):
            raise BadNameError(f"{name} is a link that leads out of the store {self.home}.", "Remove the link.")
        return folder

    def named_folders(self, prefix: str = "") -> Iterator[tuple[SetName, str]]:
        """Every folder whose place is that of a name which begins so, in no order; it may hold no version."""
        for namespace in _folders(self.sets):
            spoken = "" if namespace.name == NO_NAMESPACE else namespace.name
            if spoken and not is_part(spoken):
                continue
            for folder in _folders(namespace.path):
                name = SetName(spoken, folder.name)
                if is_part(folder.name) and str(name).startswith(prefix):
                    yield name, folder.path


def version_files(folder: str | Path) -> list[tuple[int, os.DirEntry[str]]]:
    """The versions in a name's folder with their JSON, in no order; none where it is not there."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [(int(entry.name[:-5]), entry) for entry in entries if is_version_file(entry.name)]
    return []


def is_version_file(name: str) -> bool:
    """Whether a file's name is VERSION.json: a number from 1 without leading zeros, of nine digits at most."""
    stem, dot, suffix = name.partition(".")
    return (dot, suffix) == (".", "json") and stem.isascii() and stem.isdigit() and len(stem) <= 9 and stem[0] != "0"


def _folders(path: str | Path) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        yield from (entry for entry in entries if entry.is_dir(follow_symlinks=False))
