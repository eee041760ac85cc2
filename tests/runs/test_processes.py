"""Several real processes over gloo: the same result as one, and one of them killed.

Where torchrun's own part in it is tested it starts them, which loads torch three times, five to ten seconds of two
cores; else they are forked with what it tells its processes in their environment.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import processes
import pytest
import torch
from PIL import Image

import dsactl
import registry
from dsactl.data.load import load_dataset
from dsactl.engine.checkpoint import read_checkpoint
from dsactl.methods.gradient_matching.condense import initial_images

OPTIONS = ("condense", "digits", "--ipc", "2", "--width", "16", "--inner-steps", "2", "--network-epochs", "2")
OPTIONS += ("--batch-real", "32", "--precision", "float32", "--json")
SHORT = ("--iterations", "3")
LONG = ("--iterations", "30", "--checkpoint-every", "0")
HANGS = 180  # seconds; for nothing but processes that would wait for ever


def environment(home: Path, **more: object) -> dict[str, str]:
    return {
        **os.environ,
        "DSACTL_HOME": str(home),
        "NO_COLOR": "1",
        **{name: str(value) for name, value in more.items()},
    }


def torchrun(home: Path, *options: str) -> subprocess.Popen[str]:
    """Two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "dsactl"]
    return subprocess.Popen(
        [*command, *OPTIONS, *options],
        env=environment(home, TORCHELASTIC_ERROR_FILE=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(
    home: Path, count: int, *more: str, options: tuple[str, ...] = OPTIONS, follower: Mapping[str, object] | None = None
) -> list[CompletedProcess[str]]:
    """Processes as torchrun starts them, to their end; `follower` is in the environment of all but the first."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    started = [
        processes.start(*options, *more, env=environment(home, **place, RANK=rank, LOCAL_RANK=rank) | own)
        for rank in range(count)
        for own in [{name: str(value) for name, value in (follower or {}).items()} if rank else {}]
    ]
    return [CompletedProcess((*options, *more), each.wait(HANGS), *each.communicate(HANGS)) for each in started]


def answer(*ended: CompletedProcess[str]) -> dict[str, object]:
    """What they made; process 0 says it, and no other."""
    for each in ended:
        assert each.returncode == 0, each.stderr
    assert [bool(each.stdout) for each in ended] == [True] + [False] * (len(ended) - 1)
    (made,) = json.loads(ended[0].stdout)
    return made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dsactl.SyntheticSet:
    """What one process makes."""
    home = tmp_path_factory.mktemp("alone")
    answer(processes.run(*OPTIONS, *SHORT, env=environment(home)))
    return dsactl.load("digits-dsa-convnet-width16-ipc2", registry.Store(home))


def difference(alone: dsactl.SyntheticSet, made: dsactl.SyntheticSet) -> float:
    """How far two sets are from each other, as a share of how far the first is from the images it began as."""
    start = initial_images(load_dataset("digits"), alone.recipe, "real").flatten(0, 1)
    return float((made.images - alone.images).norm() / (alone.images - start).norm())


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_give_one_process_s_result(tmp_path: Path, alone: dsactl.SyntheticSet, count: int) -> None:
    """10 classes over 3 processes are 3, 3 and 4. Two are started by torchrun."""
    if count == 2:
        run = torchrun(tmp_path, *SHORT)
        out, err = run.communicate(timeout=HANGS)
        answer(CompletedProcess(SHORT, run.returncode, out, err))
    else:
        answer(*together(tmp_path, count, *SHORT))
    made = dsactl.load("digits-dsa-convnet-width16-ipc2", registry.Store(tmp_path))
    assert alone.images.shape == made.images.shape
    assert torch.equal(alone.labels, made.labels)
    assert difference(alone, made) < 1e-4
    about = registry.Store(tmp_path).newest().manifest.provenance
    assert f"{count} processes" in about["environment"]


def test_methods_that_match_features_share_their_classes(tmp_path: Path) -> None:
    """DM, and DANCE, whose experts process 0 gives the others. Nine processes: a few seconds."""
    small = (
        "condense",
        "digits",
        "--ipc",
        "1",
        "--width",
        "16",
        "--precision",
        "float32",
        "--json",
        "--iterations",
        "3",
    )
    command = (*small, "--method", "dance", "--expert-networks", "2", "--expert-epochs", "1")
    homes = tmp_path / "one", tmp_path / "two"
    missing = together(homes[1], 2, *command, options=())
    assert [each.returncode for each in missing] == [1, 1]
    assert "Make the pool first" in missing[0].stderr
    pool = ("experts", "digits", "--networks", "2", "--epochs", "1", "--width", "16", "--precision", "float32")
    assert processes.run(*pool, env=environment(homes[1])).returncode == 0
    for own in (command, (*small, "--method", "dm")):
        answer(processes.run(*own, env=environment(homes[0])))
        answer(*together(homes[1], 2, *own, options=()))
        stores = [registry.Store(home) for home in homes]
        assert difference(*(dsactl.load(store.newest().reference, store) for store in stores)) < 1e-4
        assert "2 processes" in stores[1].newest().manifest.provenance["environment"]


def test_processes_agree_on_the_experts_for_a_budget(tmp_path: Path) -> None:
    """A pool of the store is taken, and none is trained in several processes. Three commands: a few seconds."""
    small = ("digits", "--width", "8", "--precision", "float32", "--json")
    command = ("condense", *small, "--ipc", "1", "--method", "dance", "--budget", "900h", "--dry-run")
    first, second = together(tmp_path, 2, *command, options=())
    assert (first.returncode, second.returncode) == (1, 1)
    assert "Make the pool first, in one process: dsactl experts digits --epochs 60 with the same" in first.stderr
    assert not second.stdout + second.stderr
    pool = ("experts", *small, "--networks", "3", "--epochs", "30", "--batch", "1024")
    assert processes.run(*pool, env=environment(tmp_path)).returncode == 0
    first, second = together(tmp_path, 2, *command, options=())
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    answered = json.loads(first.stdout)
    assert answered["recipe"]["options"]["expert_batch"] == 1024
    assert answered["budget"]["experts"]["reference"] == "digits-experts-convnet-width8:1"


def test_only_process_0_needs_the_named_pool(tmp_path: Path) -> None:
    """The store of another machine is not read, whatever it has under the name."""
    home, bare = tmp_path / "home", tmp_path / "bare"
    small = ("--width", "8", "--precision", "float32", "--json")
    pool = ("experts", "digits", "--networks", "1", "--epochs", "1", "--batch", "512", "--name", "mine", *small)
    made = json.loads(processes.run(*pool, env=environment(home)).stdout)
    command = ("condense", "digits", "--ipc", "1", *small, "--method", "dance", "--iterations", "2")
    named = (*command, "--experts", "mine")
    answer(*together(home, 2, *named, options=(), follower={"DSACTL_HOME": bare}))
    stored = registry.Store(home).newest()
    assert made["digest"] in str(stored.manifest.provenance["experts"])
    assert dsactl.load(stored.reference, registry.Store(home)).recipe.settings.option("expert_networks") == 1
    assert not bare.exists()
    first, second = together(bare, 2, *named, options=(), follower={"DSACTL_HOME": home})
    assert (first.returncode, second.returncode) == (1, 1)
    assert "mine" in first.stderr
    assert not second.stdout + second.stderr
    first, second = together(home, 2, *named, "--width", "16", options=())
    assert (first.returncode, second.returncode) == (2, 1)
    assert "mine:1 has networks convnet-width8" in first.stderr
    assert not second.stdout + second.stderr


def test_what_only_another_process_finds_wrong_is_told_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in "ab":
        folder = tmp_path / "user" / "pictures" / label
        folder.mkdir(parents=True)
        for index in range(4):
            grey = np.random.default_rng(index).integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(grey).save(folder / f"{index}.png")
    command = ("condense", "~/pictures", "--ipc", "1", "--iterations", "1", "--width", "8", "--image-size", "8")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    first, second = together(tmp_path / "home", 2, *command, options=(), follower={"HOME": tmp_path / "nobody"})
    assert (first.returncode, second.returncode) == (1, 1)
    assert re.search(r"Process 1 of the 2 \(counted from 0\): .*nobody/pictures", second.stderr), second.stderr
    assert "Error" not in first.stderr


def test_processes_agree_on_the_number_of_steps_for_a_budget(tmp_path: Path) -> None:
    """All of them fit on any machine, and none."""
    first, second = together(tmp_path, 2, "--budget", "900h", "--dry-run")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    chosen = json.loads(first.stdout)["budget"]
    assert (chosen["steps"], chosen["device"].rpartition(", ")[2]) == (1000, "2 processes")
    assert not second.stdout + second.stderr
    first, second = together(tmp_path, 2, "--budget", "0.0001s", "--quiet")
    assert (first.returncode, second.returncode) == (2, 1)
    assert "is too short for method 'dsa'" in first.stderr
    assert not second.stdout + second.stderr


def ranks(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process id of every rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(status[1]) == process.pid:
            for value in variables:
                if value.startswith(b"RANK="):
                    found[int(value[5:])] = int(folder.name)
    return found


def wait_for(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What two processes make that nobody kills."""
    return answer(*together(tmp_path_factory.mktemp("uninterrupted"), 2, *LONG))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_is_named_and_the_checkpoint_is_good(
    tmp_path: Path, uninterrupted: dict[str, object], victim: int
) -> None:
    """The other one waits for five seconds before it says so."""
    run = torchrun(tmp_path, *LONG)
    wait_for(run, lambda: len(ranks(run)) == 2)
    there = ranks(run)
    wait_for(run, lambda: list(tmp_path.glob("runs/*/checkpoint.safetensors")))
    os.kill(there[victim], signal.SIGKILL)
    _, err = run.communicate(timeout=HANGS)
    assert run.returncode != 0
    assert re.search(rf"Process {victim} of the 2 .* died", err), err
    assert err.count("(counted from 0) died") == 1
    assert "Internal error" not in err
    (path,) = tmp_path.glob("runs/*/checkpoint.safetensors")
    _, about = read_checkpoint(path.read_bytes(), path, torch.device("cpu"))
    assert about["mode"]["processes"] == 2
    assert about["done"] < 60
    refused = processes.run(*OPTIONS, *LONG, env=environment(tmp_path))
    assert refused.returncode == 1
    assert "use 2 processes, started by torchrun" in refused.stderr
    assert answer(*together(tmp_path, 2, *LONG))["digest"] == uninterrupted["digest"]


def test_an_error_of_one_process_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    _, err = torchrun(tmp_path / "home", "--iterations", "2").communicate(timeout=HANGS)
    assert err.count("is not a folder") == 1
    assert "died" not in err
    assert "Internal error" not in err
