"""Ten thousand sets: what is read of them by which command, counted. How long it takes is a benchmark."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from many_sets import COUNT, many_sets

COUNTING = """
import json, os, sys
from collections import Counter
home, counts = os.environ["DSACTL_HOME"], Counter()
def count(event, arguments):
    if event in ("open", "os.scandir", "os.listdir") and str(arguments[0]).startswith(home):
        counts["files" if event == "open" else "folders"] += 1
sys.addaudithook(count)
try:
    {work}
except SystemExit:
    pass
json.dump(counts, sys.stderr)
"""
COMMAND = "from dsactl.cli.main import main; main()"
STORING = "import registry; from samples import put; put(registry.Store(), 7)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Their store, which has been listed once: five to ten seconds."""
    with many_sets(tmp_path_factory.mktemp("many")) as home:
        counted(home, COMMAND, "ls")
        yield home


def counted(home: Path, work: str, *arguments: str, **environment: str) -> tuple[dict[str, int], str]:
    """What a process opens in a store, and what it says."""
    own = {"DSACTL_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    ended = subprocess.run(
        [sys.executable, "-c", COUNTING.format(work=work), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **own},
    )
    return json.loads(ended.stderr.splitlines()[-1]), ended.stdout


def test_ls_reads_the_index_and_no_set(home: Path) -> None:
    counts, said = counted(home, COMMAND, "ls")
    assert len(said.splitlines()) == COUNT + 2
    assert "99.9 ± 0.5" in said
    assert counts["files"] + counts["folders"] < 10


def test_completion_opens_no_set(home: Path) -> None:
    words = {"_DSACTL_COMPLETE": "complete_bash", "COMP_WORDS": "dsactl show set-0", "COMP_CWORD": "2"}
    counts, said = counted(home, COMMAND, **words)
    assert len(said.splitlines()) == COUNT
    assert counts["files"] < 10
    assert counts["folders"] < COUNT + 10, "each set's folder is looked into once"


def test_storing_reads_no_other_set(home: Path, tmp_path: Path) -> None:
    among_many, alone = (counted(each, STORING)[0] for each in (home, tmp_path / "empty"))
    assert abs(among_many["files"] - alone["files"]) < 5
    assert abs(among_many["folders"] - alone["folders"]) < 5
