"""Fixtures: one Hub and one worker for all tests, and for each test a repository's name and two users' machines."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.machine import NO_PROXY, Machine
from hub.server import LoopbackHub
from hub.worker import Worker

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _running() -> Iterator[LoopbackHub]:
    with LoopbackHub() as running:
        yield running


@pytest.fixture(scope="session")
def _worker(_running: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    cache = tmp_path_factory.mktemp("hub-cache")
    client = {"HF_ENDPOINT": _running.endpoint, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "NO_COLOR": "1"}
    client |= NO_PROXY
    with Worker({**os.environ, **client}) as worker:
        yield worker


@pytest.fixture
def hub(_running: LoopbackHub) -> LoopbackHub:
    """The Hub, empty and without troubles."""
    _running.reset()
    return _running


@pytest.fixture
def repo() -> str:
    """A repository that no other test uses, since the worker's cache remembers them."""
    return f"user/digits-{next(_numbers)}"


Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def machine(hub: LoopbackHub, _worker: Worker, program: Program, tmp_path: Path) -> Machine:
    """The machine of one who has sets."""
    return Machine(hub, _worker, program, tmp_path / "mine")


@pytest.fixture
def other(hub: LoopbackHub, _worker: Worker, program: Program, tmp_path: Path) -> Machine:
    """The machine of one who wants them."""
    return Machine(hub, _worker, program, tmp_path / "other")
