"""A store of ten thousand sets."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from samples import put

import registry
from registry.manifest import canonical
from registry.results import file_name

COUNT = 10_000


@contextlib.contextmanager
def many_sets(tmp_path: Path) -> Iterator[Path]:
    """The home of a store of `COUNT` sets of different content and one more, a result beside each.

    It lies in memory where there is room: some disks take minutes to remove ten thousand folders.
    """
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 200e6
    home = Path(tempfile.mkdtemp(dir=memory if has_room else tmp_path))
    try:
        _fill(registry.Store(home))
        yield home
    finally:
        shutil.rmtree(home)


def _fill(store: registry.Store) -> None:
    """Write the records; all of them old, since the index passes over what could change within a tick of the clock."""
    whole = json.loads(put(store).record.read_bytes())
    for index in range(COUNT):
        whole["manifest"]["seed"] = index + 1
        whole["digest"] = registry.Manifest.model_validate(whole["manifest"]).digest
        folder = store.layout.folder(registry.parse_name(f"set-{index:05d}"))
        results = store.layout.evaluations / whole["digest"]
        result = canonical({"network": "convnet", "mean": index / 100, "std": 0.5, "n": 20, "created": "2026-01-01"})
        for path, data in ((folder / "1.json", canonical(whole)), (results / file_name(result), result)):
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
        for path in (folder, results):
            os.utime(path, (1, 1))
