"""Odd environments of a process: each ends in work done, or in one line that says what is wrong."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
Answer = tuple[int, str, str]
RANDOM = ("--ipc", "1", "--method", "random")


def _dsactl(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dsactl", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_working_directory_that_was_removed(tmp_path: Path) -> None:
    command = 'mkdir gone && cd gone && rmdir ../gone && "$0" -m dsactl ls'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: The working directory does not exist any more.")
    assert len(ended.stderr.splitlines()) == 2


def test_python_without_docstrings_and_assertions(tmp_path: Path) -> None:
    ended = _dsactl("condense", "digits", *RANDOM, "--quiet", cwd=tmp_path, PYTHONOPTIMIZE="2")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "digits-random-ipc1:1\n", "")
    assert "--ipc" in _dsactl("condense", "--help", cwd=tmp_path, PYTHONOPTIMIZE="2").stdout


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"WORLD_SIZE": "2"}, 0),  # some clusters set it for every program
        ({"RANK": "0"}, 0),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 0),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "LOCAL_RANK": "1"}, 0),
        ({"RANK": "0", "WORLD_SIZE": "some"}, 1),
        ({"RANK": "0", "WORLD_SIZE": "2"}, 1),
    ],
)
def test_variables_of_torchrun_and_of_clusters(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], code: int
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    found, _, err = cli("condense", "digits", *RANDOM, "--quiet")
    assert (found, torch.get_num_threads()) == (code, threads)
    assert "Internal error" not in err
    if code:
        assert "torchrun" in err


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "No/Where"},
        {"LANG": "nonsense", "LC_ALL": "nonsense"},
        {"LC_ALL": "C"},
        {"COLUMNS": "wide", "LINES": "-1", "TERM": ""},
        {"PYTHONWARNINGS": "error"},
        {"PATH": ""},
        {"TMPDIR": "/proc/nowhere"},
        {"HOME": "/proc"},
    ],
)
def test_odd_variables_change_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    ended = _dsactl("condense", "digits", *RANDOM, "--quiet", cwd=tmp_path, **environment)
    assert (ended.returncode, ended.stdout) == (0, "digits-random-ipc1:1\n"), ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text")
def test_file_names_that_are_no_text(cli: Callable[..., Answer], tmp_path: Path) -> None:
    """File names of Linux are bytes; those that are not UTF-8 can be read, and cannot be the name of a class."""
    folder = os.path.join(os.fsencode(tmp_path), b"\xffpictures")  # noqa: PTH118
    for number, name in enumerate((b"a", b"b")):
        os.makedirs(os.path.join(folder, name))  # noqa: PTH103, PTH118
        for index in range(6):
            pixels = np.random.default_rng(10 * number + index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(os.fsdecode(os.path.join(folder, name, b"\xfe%d.png" % index)))  # noqa: PTH118
    path = os.fsdecode(folder)
    code, out, err = cli("condense", path, *RANDOM, "--json")
    assert code == 0, err
    assert cli("evaluate", json.loads(out)[0]["reference"], "--networks", "1", "--epochs", "1")[0] == 0
    os.rename(os.path.join(folder, b"a"), os.path.join(folder, b"\xfd"))  # noqa: PTH104, PTH118
    code, _, err = cli("condense", path, *RANDOM)
    assert code == 1
    assert "has a name that cannot be stored" in err


@pytest.mark.parametrize("where", ["registry.store.acquire", "dsactl.engine.locks.acquire"])
def test_too_few_open_files(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(where, refuse)
    code, _, err = cli("condense", "digits", *RANDOM)
    assert code == 1
    assert "Too many open files" in err
    assert "ulimit -n" in err
