"""How long a store of ten thousand sets takes to list, to complete and to add to: half a second and less."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from many_sets import many_sets
from samples import NAME, put

import registry

COMPLETION = {"_DSACTL_COMPLETE": "complete_bash", "COMP_WORDS": "dsactl show set-0", "COMP_CWORD": "2"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with many_sets(tmp_path_factory.mktemp("many")) as home:
        run(home, "ls")
        yield home


def run(home: Path, *arguments: str, **environment: str) -> None:
    own = {**os.environ, "DSACTL_HOME": str(home), **environment}
    subprocess.run([sys.executable, "-m", "dsactl", *arguments], capture_output=True, check=True, env=own)


def test_ls_of_none(benchmark: Any, tmp_path: Path) -> None:
    benchmark.pedantic(run, (tmp_path, "ls"), rounds=9)


def test_ls_of_ten_thousand(benchmark: Any, home: Path) -> None:
    benchmark.pedantic(run, (home, "ls"), rounds=9)


def test_completion_of_ten_thousand(benchmark: Any, home: Path) -> None:
    benchmark.pedantic(run, (home,), COMPLETION, rounds=9)


def test_storing_among_ten_thousand(benchmark: Any, home: Path) -> None:
    store = registry.Store(home)
    seeds = iter(range(1000))
    benchmark.pedantic(lambda: put(store, next(seeds), NAME), rounds=20)
