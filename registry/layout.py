"""Paths of a store. File contents are neither read nor written here.

store.json                                the schema of this layout
lock                                      held during writes
newest.json                               the set that was stored last; a cache
index                                     the summary of all versions; a cache
blobs/DIGEST.safetensors                  a file, named by the SHA-256 of its bytes
sets/NAMESPACE/NAME/VERSION.json          a version: its manifest and files; `_` stands for no namespace
sets/NAMESPACE/NAME/VERSION.png           its picture
sets/NAMESPACE/NAME/name.json             the name's tags, and the digests of its removed versions
evaluations/DIGEST/RECORD.json            results, by the digest of the content they were measured on
"""

import os
from collections.abc import Iterator
from pathlib import Path

from registry.errors import BadNameError, StoreError
from registry.files import is_temporary
from registry.names import SetName, is_part

NO_NAMESPACE = "_"
NAME_RECORD = "name.json"


class Layout:
    """Paths of a store.

    Args:
        home: the store's folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.marker = home / "store.json"
        self.lock = home / "lock"
        self.newest = home / "newest.json"
        self.index = home / "index"
        self.blobs = home / "blobs"
        self.sets = home / "sets"
        self.evaluations = home / "evaluations"

    def blob(self, digest: str) -> Path:
        """Return the path of the file with this SHA-256."""
        return self.blobs / f"{digest}.safetensors"

    def folder(self, name: SetName) -> Path:
        """Return the folder of a name.

        Raises:
            BadNameError: the folder or its parent is a symbolic link.
        """
        folder = self.sets / (name.namespace or NO_NAMESPACE) / name.name
        if folder.is_symlink() or folder.parent.is_symlink():
            within = folder.resolve().is_relative_to(self.sets.resolve())
            what = "a link, which the store does not follow" if within else "a link that leads out of the store"
            raise BadNameError(f"{folder} is {what}.", "Remove it.")
        return folder

    def named_folders(self, prefix: str = "") -> Iterator[tuple[SetName, os.DirEntry[str]]]:
        """Yield every folder of a name with this prefix, in no order. A folder may have no versions.

        Raises:
            StoreError: a folder cannot be read.
        """
        for namespace in _folders(self.sets):
            namespace_name = "" if namespace.name == NO_NAMESPACE else namespace.name
            if namespace_name and not is_part(namespace_name):
                continue
            for folder in _folders(namespace.path):
                name = SetName(namespace_name, folder.name)
                if is_part(folder.name) and (not prefix or str(name).startswith(prefix)):
                    yield name, folder

    def unexpected_files(self) -> Iterator[Path]:
        """Yield paths among the sets that do not belong there, such as a set's folder that was moved or renamed.

        Raises:
            StoreError: a folder cannot be read.
        """
        for namespace in _permanent_entries(self.sets):
            fits = namespace.name == NO_NAMESPACE or is_part(namespace.name)
            if not (fits and namespace.is_dir(follow_symlinks=False)):
                yield Path(namespace.path)
                continue
            for folder in _permanent_entries(namespace.path):
                if not (is_part(folder.name) and folder.is_dir(follow_symlinks=False)):
                    yield Path(folder.path)
                    continue
                yield from (
                    Path(file.path) for file in _permanent_entries(folder.path) if not _is_known_file(file.name)
                )


def version_files(folder: str | Path | os.DirEntry[str]) -> list[tuple[int, os.DirEntry[str]]]:
    """Return the versions in a name's folder and their JSON files, in no order; none if there is no folder.

    Raises:
        StoreError: the folder cannot be read.
    """
    return [(int(entry.name[:-5]), entry) for entry in entries_of(folder) if is_version_file(entry.name)]


def is_version_file(name: str) -> bool:
    """Return whether a file name is VERSION.json, with a number from 1 of at most nine digits, no leading zeros."""
    stem, dot, suffix = name.partition(".")
    return (dot, suffix) == (".", "json") and stem.isascii() and stem.isdigit() and len(stem) <= 9 and stem[0] != "0"


def entries_of(folder: str | Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, in no order; none if there is no folder.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(f"Cannot read the folder {os.fspath(folder)}: {error.strerror or error}.") from error


def _folders(path: str | Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries_of(path) if entry.is_dir(follow_symlinks=False))


def _permanent_entries(path: str | Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries_of(path) if not is_temporary(entry.name))


def _is_known_file(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return is_temporary(name) or name == NAME_RECORD or (is_version_file(f"{stem}.json") and suffix in ("json", "png"))
