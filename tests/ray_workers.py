"""Ray's workers as processes of this machine, for tests that kill them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsactl.engine.on_ray import RayExecutor

ALIKE = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
"""An environment in which a process computes as Ray's workers do, and clusters of this machine ask for no token."""
TESTS = os.pathsep.join(str(Path(__file__).parent / folder) for folder in ("", "engine"))
"""Where workers find the modules that a test's functions are in, as PYTHONPATH."""


@contextlib.contextmanager
def cluster() -> Iterator[RayExecutor]:
    """Workers of this machine that find the tests' functions.

    They compute as a process in `ALIKE` does, though the environment would have them take two threads.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ALIKE, "PYTHONPATH": TESTS, "OMP_NUM_THREADS": "2"}.items():
            patch.setenv(name, value)
        with contextlib.closing(RayExecutor(None, "cpu")) as who:
            yield who


def working(driver: int) -> list[int]:
    """Ray's workers below a process that are at a task."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith(b"ray::_do") and driver in ancestors(int(folder.name)):
                found.append(int(folder.name))
    return found


def ancestors(process: int) -> list[int]:
    found = []
    while process > 1:
        try:
            process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.append(process)
    return found
