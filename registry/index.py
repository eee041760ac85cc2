"""Fast summary of every version in a store, from a cache that is validated against the files.

The cache may be lost, damaged or outdated without harm. An entry is valid while its folder has the same modification
time, which storing, removing and renaming change. A folder that was modified so recently that it could change again
within the granularity of the clock is always read again.
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

_LAYOUT = 8
_PARTS = ("sets", "evaluations")
MTIME_GRANULARITY_NS = 2 * 10**9  # the coarsest file systems store times to two seconds
_SUMMARY = (
    "network",
    "mean",
    "std",
    "n",
    "epochs",
    "augmentation",
    "own_augmentation",
    "protocol",
    "created",
)  # fields of an evaluation


class Entry(NamedTuple):
    """Summary of a version.

    Attributes:
        name, version, digest, stored: see `StoredSet`.
        dataset, method, network, seed, classes: from the manifest.
        iterations: from the recipe; None if it has no such integer.
        shape: N, C, H, W of the images of a set; empty for a pool of experts.
        soft_labels: whether the images have distributions over the classes as labels.
        formation: F of the recipe; each stored image is decoded into F² images.
        size: bytes of the file.
        kind: "set" or "experts".
        networks, epochs: of a pool; 0 and empty for a set.
        evaluations: the summary of each result, oldest first.
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
    soft_labels: bool
    formation: int
    size: int
    kind: str
    networks: int
    epochs: Sequence[int]
    evaluations: Sequence[dict[str, Any]]

    @property
    def reference(self) -> str:
        """Return `name:version`."""
        return f"{self.name}:{self.version}"


def entries(layout: Layout, *, keep: bool) -> tuple[list[Entry], list[RegistryError]]:
    """Return the summary of every readable version, oldest first, and the errors of all others.

    Args:
        layout: the paths of the store.
        keep: whether the cache may be written.
    """
    with collector.gc_paused():  # saves a quarter of the time
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
    """Return the summary of each result, oldest first."""
    short = [{key: record[key] for key in _SUMMARY if key in record} for record in records]
    return sorted(short, key=lambda record: str(record.get("created", "")))


def _rows(faults: list[RegistryError], folder: os.DirEntry[str]) -> list[Any]:
    """Return, for each version in a name's folder, the fields of `Entry` but the first and the last."""
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
            info, pool = manifest.dataset, manifest.pool
            shape = [] if pool else manifest.tensors["images"].shape
            row = [version, record.digest, record.stored, info.name, manifest.method, manifest.network, manifest.seed]
            iterations = manifest.recipe.get("iterations")
            row.append(iterations if isinstance(iterations, int) else None)
            row += [len(info.class_names), shape, manifest.has_soft_labels, manifest.formation]
            row += [record.tensors.size, manifest.kind]
            found.append([*row, pool.networks, pool.epochs] if pool else [*row, 0, []])
    except RegistryError as error:
        faults.append(error)
    return _Uncached(found) if len(faults) > before else found


class _Uncached(list[Any]):
    """Value that must not be cached."""


def _folders(layout: Layout) -> Iterator[os.DirEntry[str]]:
    return (each for each in entries_of(layout.evaluations) if each.is_dir(follow_symlinks=False))


def _shown(folder: os.DirEntry[str]) -> list[dict[str, Any]]:
    return shown_of(read_results(folder.path))


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """Return the results in a folder of evaluations, oldest first, without unreadable ones."""
    records = []
    for path in Path(folder).glob("*.json"):
        with contextlib.suppress(FileNotFoundError, RegistryError):
            records.append(read_result(path))
    return sorted(records, key=lambda record: str(record.get("created", "")))


class _Cache:
    """Cached values of folders with the folders' modification times, in a file that begins with its digest."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.index
        self._cached: dict[str, dict[str, list[Any]]] = {part: {} for part in _PARTS}
        self._used: dict[str, dict[str, list[Any]]] = {part: {} for part in _PARTS}
        self._changed = False
        self._cacheable_before = time.time_ns() - MTIME_GRANULARITY_NS
        with contextlib.suppress(OSError):
            head, _, body = self._path.read_bytes().partition(b"\n")
            if head == _head(body):
                self._cached = json.loads(body)

    def values(
        self,
        part: str,
        folders: Iterable[tuple[str, os.DirEntry[str]]],
        read: Callable[[os.DirEntry[str]], list[Any]],
    ) -> dict[str, list[Any]]:
        """Return each folder's cached value if it is valid, else read it."""
        cached, used, values = self._cached[part], self._used[part], {}
        for key, folder in folders:
            changed, known = folder.stat().st_mtime_ns, cached.get(key)
            if known is not None and known[0] == changed:
                used[key], values[key] = known, known[1]
                continue
            values[key] = value = read(folder)
            if changed < self._cacheable_before and not isinstance(value, _Uncached):
                used[key] = [changed, value]
                self._changed = True
        return values

    def save(self) -> None:
        """Write the values that were used if they differ from the cache; ignore failures."""
        if self._changed or any(self._cached[part].keys() != self._used[part].keys() for part in _PARTS):
            body = json.dumps(self._used, separators=(",", ":")).encode()
            write_cache(self._path, _head(body) + b"\n" + body)


def _head(body: bytes) -> bytes:
    """Return the first line of a valid cache: its layout and digest."""
    return f"index {_LAYOUT} {sha256(body)}".encode()
