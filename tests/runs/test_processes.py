"""Two real processes under torchrun, over gloo: the same result as one, and one of them killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import dsactl
import registry
from dsactl.engine.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

OPTIONS = ("condense", "digits", "--ipc", "2", "--width", "16", "--inner-steps", "2", "--network-epochs", "2")
OPTIONS += ("--batch-real", "32", "--precision", "float32", "--json")


def start(home: Path, processes: int, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "DSACTL_HOME": str(home), "NO_COLOR": "1", "TORCHELASTIC_ERROR_FILE": ""}
    command = [sys.executable, "-m", "dsactl"]
    if processes > 1:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", "-m", "dsactl"]
    return subprocess.Popen(
        [*command, *OPTIONS, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return out, err


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_one_process_s_result(tmp_path: Path, processes: int) -> None:
    """10 classes over 3 processes are 3, 3 and 4."""
    finish(start(tmp_path / "one", 1, "--iterations", "3"))
    out, _ = finish(start(tmp_path / "several", processes, "--iterations", "3"))
    assert len(json.loads(out)) == 1, "only process 0 answers"
    alone, together = (
        dsactl.load("digits-dsa-convnet-width16-ipc2", registry.Store(tmp_path / home)) for home in ("one", "several")
    )
    assert alone.images.shape == together.images.shape
    assert torch.equal(alone.labels, together.labels)
    assert (alone.images - together.images).abs().max() < 1e-2
    made = registry.Store(tmp_path / "several").newest().manifest.provenance
    assert f"{processes} processes" in made["environment"]


def ranks(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process id of every rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(status[1]) == process.pid:
            for value in environment:
                if value.startswith(b"RANK="):
                    found[int(value[5:])] = int(folder.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_is_named_and_the_checkpoint_is_good(tmp_path: Path, victim: int) -> None:
    options = ("--iterations", "60", "--checkpoint-every", "0")
    run = start(tmp_path / "home", 2, *options)
    deadline = time.monotonic() + 120
    while not (checkpoints := list(tmp_path.glob("home/runs/*/checkpoint.safetensors"))):
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.01)
    os.kill(ranks(run)[victim], signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode != 0
    assert re.search(rf"Process {victim} of the 2 .* died", err), err
    assert err.count("(counted from 0) died") == 1
    assert "Internal error" not in err
    _, about = read_checkpoint(checkpoints[0].read_bytes(), checkpoints[0], torch.device("cpu"))
    assert about["mode"]["processes"] == 2
    assert about["iteration"] < 60
    alone = start(tmp_path / "home", 1, *options)
    _, refused = alone.communicate(timeout=120)
    assert alone.returncode == 1
    assert "use 2 processes (torchrun --nproc-per-node)" in refused
    went_on, _ = finish(start(tmp_path / "home", 2, *options))
    uninterrupted, _ = finish(start(tmp_path / "other", 2, *options))
    assert json.loads(went_on)[0]["digest"] == json.loads(uninterrupted)[0]["digest"]


def test_an_error_of_one_process_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    _, err = start(tmp_path / "home", 2, "--iterations", "2").communicate(timeout=120)
    assert err.count("is not a folder") == 1
    assert "died" not in err
    assert "Internal error" not in err
