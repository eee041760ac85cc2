"""A user's store with a few sets, and the command line in one process for many commands."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hub.worker import Worker
from samples import put

import registry

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture
def store() -> registry.Store:
    """The user's store, with three versions of one name and one of another."""
    store = registry.Store()
    for seed in range(3):
        put(store, seed, registry.parse_name("a"))
    put(store, 9, registry.parse_name("lab/b"))
    return store


@pytest.fixture(scope="module")
def _quick_worker() -> Iterator[Worker]:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    with Worker({**environment, "NO_COLOR": "1"}) as worker:
        yield worker


@pytest.fixture
def quick(_quick_worker: Worker, tmp_path: Path) -> Program:
    """Run the real command line in a process that has it loaded; returns what a finished process would."""

    def run(*arguments: str, **environment: str) -> CompletedProcess[str]:
        own = {name: os.environ[name] for name in ("DSACTL_HOME", "DSACTL_DATA")}
        return _quick_worker.run(arguments, {**own, **environment}, tmp_path)

    return run
