"""Where things lie under a store's folder, and what lies there. Nothing is read or written here.

store.json                                the schema of this layout
lock                                      held while something is written
newest.json                               what was stored last; a cache
index                                     what `entries` lists; a cache
blobs/DIGEST.safetensors                  a file under the SHA-256 of its bytes
sets/NAMESPACE/NAME/VERSION.json          a version: its manifest and files; `_` stands for no namespace
sets/NAMESPACE/NAME/VERSION.png           its picture
sets/NAMESPACE/NAME/name.json             the name's tags, and the number below which none is given again
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
    """The paths of a store.

    Args:
        home: its folder.
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
        """The file with this SHA-256."""
        return self.blobs / f"{digest}.safetensors"

    def folder(self, name: SetName) -> Path:
        """The folder of a name.

        Raises:
            BadNameError: it is a link, or behind one.
        """
        folder = self.sets / (name.namespace or NO_NAMESPACE) / name.name
        if folder.is_symlink() or folder.parent.is_symlink():
            within = folder.resolve().is_relative_to(self.sets.resolve())
            what = "a link, which the store does not follow" if within else "a link that leads out of the store"
            raise BadNameError(f"{folder} is {what}.", "Remove it.")
        return folder

    def named_folders(self, prefix: str = "") -> Iterator[tuple[SetName, os.DirEntry[str]]]:
        """Every folder whose place is that of a name which begins so, in no order; it may hold no version.

        Raises:
            StoreError: a folder cannot be read.
        """
        for namespace in _folders(self.sets):
            spoken = "" if namespace.name == NO_NAMESPACE else namespace.name
            if spoken and not is_part(spoken):
                continue
            for folder in _folders(namespace.path):
                name = SetName(spoken, folder.name)
                if is_part(folder.name) and (not prefix or str(name).startswith(prefix)):
                    yield name, folder

    def strangers(self) -> Iterator[Path]:
        """What lies among the sets and is in no place of theirs: it may be a set's, moved or renamed by hand.

        Raises:
            StoreError: a folder cannot be read.
        """
        for namespace in _lasting(self.sets):
            fits = namespace.name == NO_NAMESPACE or is_part(namespace.name)
            if not (fits and namespace.is_dir(follow_symlinks=False)):
                yield Path(namespace.path)
                continue
            for folder in _lasting(namespace.path):
                if not (is_part(folder.name) and folder.is_dir(follow_symlinks=False)):
                    yield Path(folder.path)
                    continue
                yield from (Path(file.path) for file in _lasting(folder.path) if not _is_ours(file.name))


def version_files(folder: str | Path | os.DirEntry[str]) -> list[tuple[int, os.DirEntry[str]]]:
    """The versions in a name's folder with their JSON, in no order; none where it is not there.

    Raises:
        StoreError: the folder cannot be read.
    """
    return [(int(entry.name[:-5]), entry) for entry in entries_of(folder) if is_version_file(entry.name)]


def is_version_file(name: str) -> bool:
    """Whether a file's name is VERSION.json: a number from 1 without leading zeros, of nine digits at most."""
    stem, dot, suffix = name.partition(".")
    return (dot, suffix) == (".", "json") and stem.isascii() and stem.isdigit() and len(stem) <= 9 and stem[0] != "0"


def entries_of(folder: str | Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    """What a folder holds, in no order; nothing where it is not there.

    Raises:
        StoreError: it cannot be read.
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


def _lasting(path: str | Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in entries_of(path) if not is_temporary(entry.name))


def _is_ours(name: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    return is_temporary(name) or name == NAME_RECORD or (is_version_file(f"{stem}.json") and suffix in ("json", "png"))
