"""What a store holds, told fast: a summary of every version, from a cache that is checked against the files.

The cache is of no consequence: it may be lost, damaged or old. A value of it counts while the folder that it was read
from has the same time, which storing, removing and renaming change. Folders so young that they could change again
within one tick of the clock are read anew.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from registry import collector
from registry.errors import RegistryError
from registry.files import sha256, write_cache
from registry.layout import Layout, entries_of, version_files
from registry.names import SetName
from registry.records import read_version
from registry.results import read_result

_LAYOUT = 5
_PARTS = ("sets", "evaluations")
_YOUNG = 2 * 10**9  # nanoseconds: file systems keep times to two seconds at worst
_SHOWN = ("network", "mean", "std", "n", "epochs", "augmentation", "created")  # of an evaluation


class Entry(NamedTuple):
    """A version in short.

    Attributes:
        name, version, digest, stored: as of `StoredSet`.
        dataset, method, network, seed, classes: of its manifest.
        iterations: of its recipe, where that has a number of them.
        shape: N, C, H, W of its images.
        size: bytes of its file.
        evaluations: of each result what is shown of it, oldest first.
    """

    name: SetName
    version: int
    digest: str
    stored: str
    dataset: str
    method: str
    network: str | None
    seed: int
    iterations: int | None
    classes: int
    shape: Sequence[int]
    size: int
    evaluations: Sequence[dict[str, Any]]

    @property
    def reference(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"


def entries(layout: Layout, *, keep: bool) -> tuple[list[Entry], list[RegistryError]]:
    """Every version that can be read, oldest first, and what is wrong with those that cannot.

    Args:
        layout: of the store.
        keep: whether the cache may be written.
    """
    with collector.paused():  # a quarter of the time
        return _entries(layout, keep=keep)


def _entries(layout: Layout, *, keep: bool) -> tuple[list[Entry], list[RegistryError]]:
    cache = _Cache(layout)
    results = cache.values("evaluations", ((each.name, each) for each in _folders(layout)), _shown)
    found: list[Entry] = []
    faults: list[RegistryError] = []
    folders = {str(name): (name, folder) for name, folder in layout.named_folders()}
    rows = cache.values("sets", ((text, folder) for text, (_, folder) in folders.items()), partial(_rows, faults))
    for text, versions in rows.items():
        name, _ = folders[text]
        found += [Entry._make((name, *row, results.get(row[1], ()))) for row in versions]
    if keep:
        cache.save()
    found.sort(key=attrgetter("stored", "digest"))
    return found, sorted(faults, key=str)


def shown_of(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each result what is shown of it in a list, oldest first."""
    short = [{key: record[key] for key in _SHOWN if key in record} for record in records]
    return sorted(short, key=lambda record: str(record.get("created", "")))


def _rows(faults: list[RegistryError], folder: os.DirEntry[str]) -> list[Any]:
    """Of each version in a name's folder all but the first and last of `Entry`."""
    found, before = [], len(faults)
    try:
        for version, file in version_files(folder):
            try:
                record = read_version(Path(file.path))
            except FileNotFoundError:
                continue  # removed meanwhile
            except RegistryError as error:
                faults.append(error)
                continue
            manifest = record.manifest
            info, shape = manifest.dataset, manifest.tensors["images"].shape
            row = [version, record.digest, record.stored, info.name, manifest.method, manifest.network, manifest.seed]
            iterations = manifest.recipe.get("iterations")
            row.append(iterations if isinstance(iterations, int) else None)
            found.append([*row, len(info.class_names), shape, record.tensors.size])
    except RegistryError as error:
        faults.append(error)
    return _Unkept(found) if len(faults) > before else found


class _Unkept(list[Any]):
    """What is true now, and to be read again the next time."""


def _folders(layout: Layout) -> Iterator[os.DirEntry[str]]:
    return (each for each in entries_of(layout.evaluations) if each.is_dir(follow_symlinks=False))


def _shown(folder: os.DirEntry[str]) -> list[dict[str, Any]]:
    return shown_of(read_results(folder.path))


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """The results in a folder of evaluations, oldest first; unreadable ones are left out."""
    records = []
    for path in Path(folder).glob("*.json"):
        with contextlib.suppress(FileNotFoundError, RegistryError):
            records.append(read_result(path))
    return sorted(records, key=lambda record: str(record.get("created", "")))


class _Cache:
    """What was read from folders, each kept with the folder's time, behind a digest of it all."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.index
        self._kept: dict[str, dict[str, list[Any]]] = {part: {} for part in _PARTS}
        self._used: dict[str, dict[str, list[Any]]] = {part: {} for part in _PARTS}
        self._changed = False
        self._old = time.time_ns() - _YOUNG
        with contextlib.suppress(OSError):
            head, _, body = self._path.read_bytes().partition(b"\n")
            if head == _head(body):
                self._kept = json.loads(body)

    def values(
        self,
        part: str,
        folders: Iterable[tuple[str, os.DirEntry[str]]],
        read: Callable[[os.DirEntry[str]], list[Any]],
    ) -> dict[str, list[Any]]:
        """For each folder what is kept of it, or what `read` makes of it now."""
        kept, used, values = self._kept[part], self._used[part], {}
        for key, folder in folders:
            changed, known = folder.stat().st_mtime_ns, kept.get(key)
            if known is not None and known[0] == changed:
                used[key], values[key] = known, known[1]
                continue
            values[key] = value = read(folder)
            if changed < self._old and not isinstance(value, _Unkept):
                used[key] = [changed, value]
                self._changed = True
        return values

    def save(self) -> None:
        """Keep what was used, if that is something else than before, and the store can be written to."""
        if self._changed or any(self._kept[part].keys() != self._used[part].keys() for part in _PARTS):
            body = json.dumps(self._used, separators=(",", ":")).encode()
            write_cache(self._path, _head(body) + b"\n" + body)


def _head(body: bytes) -> bytes:
    """What stands before a cache of this layout that nobody has changed."""
    return f"index {_LAYOUT} {sha256(body)}".encode()
