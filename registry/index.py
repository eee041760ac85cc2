"""What a store holds, told fast: a summary of every version, from a cache that is checked against the files.

The cache is of no consequence: it may be lost, damaged or old. A value of it counts while the file that it was read
from has the same time and size. Files so young that they could change again within one tick of the clock are read anew.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from registry.errors import CorruptError, RegistryError
from registry.files import read_limited, write_cache
from registry.layout import Layout, version_files
from registry.names import SetName
from registry.records import LONGEST_RECORD, read_version

_FORMAT = 1
_PARTS = ("sets", "evaluations")
_YOUNG = 2 * 10**9  # nanoseconds: file systems keep times to two seconds at worst
_SHOWN = ("network", "mean", "std", "n", "epochs", "created")  # of an evaluation


@dataclass(frozen=True)
class Entry:
    """A version in short.

    Attributes:
        name, version, digest, stored: as of `StoredSet`.
        dataset, method, network, classes: of its manifest.
        shape: N, C, H, W of its images.
        blob, size: of its file: SHA-256, and bytes.
        evaluations: of each result what is shown of it, oldest first.
    """

    name: SetName
    version: int
    digest: str
    stored: str
    dataset: str
    method: str
    network: str | None
    classes: int
    shape: tuple[int, ...]
    blob: str
    size: int
    evaluations: Sequence[dict[str, Any]] = field(default=(), compare=False)

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
    cache = _Cache(layout, _stored(layout))
    try:
        found = _entries(layout, cache)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):  # of a cache that was changed by hand
        cache = _Cache(layout, {})
        found = _entries(layout, cache)
    if keep:
        cache.save()
    return found


def _entries(layout: Layout, cache: "_Cache") -> tuple[list[Entry], list[RegistryError]]:
    results = _evaluations(layout, cache)
    found: list[Entry] = []
    faults: list[RegistryError] = []
    for name, folder in layout.named_folders():
        for version, file in version_files(folder):
            try:
                values = cache.get("sets", f"{name}:{version}", file, _summary)
            except FileNotFoundError:
                continue  # removed meanwhile
            except RegistryError as error:
                faults.append(error)
                continue
            digest, stored, dataset, method, network, classes, shape, blob, size = values
            shown = results.get(digest, ())
            found.append(
                Entry(name, version, digest, stored, dataset, method, network, classes, tuple(shape), blob, size, shown)
            )
    found.sort(key=attrgetter("stored", "digest"))
    return found, sorted(faults, key=str)


def shown_of(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each result what is shown of it in a list, oldest first."""
    short = [{key: record[key] for key in _SHOWN if key in record} for record in records]
    return sorted(short, key=lambda record: str(record.get("created", "")))


def _summary(file: os.DirEntry[str]) -> list[Any]:
    record = read_version(Path(file.path))
    manifest = record.manifest
    return [
        record.digest,
        record.stored,
        manifest.dataset.name,
        manifest.method,
        manifest.network,
        len(manifest.dataset.class_names),
        manifest.tensors["images"].shape if "images" in manifest.tensors else [],
        record.tensors.sha256,
        record.tensors.size,
    ]


def _evaluations(layout: Layout, cache: "_Cache") -> dict[str, list[dict[str, Any]]]:
    with contextlib.suppress(OSError), os.scandir(layout.evaluations) as folders:
        return {
            folder.name: cache.get("evaluations", folder.name, folder, lambda each: shown_of(read_results(each.path)))
            for folder in folders
            if folder.is_dir(follow_symlinks=False)
        }
    return {}


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """The results in a folder of evaluations, oldest first; unreadable ones are left out."""
    records = []
    for path in Path(folder).glob("*.json"):
        record = read_json_object(path)
        if record is not None:
            records.append(record)
    return sorted(records, key=lambda record: str(record.get("created", "")))


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError, CorruptError):
        value = json.loads(read_limited(path, LONGEST_RECORD))
        return value if isinstance(value, dict) else None
    return None


def _stored(layout: Layout) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        stored = json.loads(layout.index.read_bytes())
        if isinstance(stored, dict) and stored.get("format") == _FORMAT:
            return stored
    return {}


class _Cache:
    """Values that were read from files, each kept with the file's time and size."""

    def __init__(self, layout: Layout, stored: dict[str, Any]) -> None:
        self._path = layout.index
        kept = {part: stored.get(part) for part in _PARTS}
        self._kept = {part: value if isinstance(value, dict) else {} for part, value in kept.items()}
        self._used: dict[str, dict[str, list[Any]]] = {part: {} for part in _PARTS}
        self._changed = False
        self._now = time.time_ns()

    def get(self, part: str, key: str, file: os.DirEntry[str], read: Callable[[os.DirEntry[str]], Any]) -> Any:
        """The value for a file: the one that is kept, or what `read` makes of it."""
        status = file.stat()
        mark = f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"
        kept = self._kept[part].get(key)
        if kept is not None and kept[0] == mark:
            self._used[part][key] = kept
            return kept[1]
        value = read(file)
        if status.st_mtime_ns < self._now - _YOUNG:
            self._used[part][key] = [mark, value]
            self._changed = True
        return value

    def save(self) -> None:
        """Keep what was used, if that is something else than before, and the store can be written to."""
        if self._changed or any(self._kept[part].keys() != self._used[part].keys() for part in _PARTS):
            write_cache(self._path, json.dumps({"format": _FORMAT, **self._used}, separators=(",", ":")).encode())
