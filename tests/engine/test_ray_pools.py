"""Experts on Ray: the same pool as in one process, though a worker or the driver is killed."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import processes
import pytest
from ray_workers import ALIKE, working

import registry

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dsactl[ray]'")

EXPERTS = ["experts", "digits", "--networks", "2", "--epochs", "25", "--width", "64", "--batch", "16"]
EXPERTS += ["--precision", "float32", "--json"]


def finished(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    done = processes.run(*command, env={**os.environ, **ALIKE, "DSACTL_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_on_ray_the_pool_is_the_same_though_a_worker_is_killed(tmp_path: Path) -> None:
    straight = json.loads(finished([*EXPERTS, "--ray", "off"], tmp_path / "straight").stdout)
    home = tmp_path / "store"
    process = processes.start(*EXPERTS, "--ray", "auto", env={**os.environ, **ALIKE, "DSACTL_HOME": str(home)})
    end = time.monotonic() + 120
    while not (any(home.glob("runs/experts/*/.network-*")) and (busy := working(process.pid))):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(busy[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert json.loads(out)["digest"] == straight["digest"]
    (stored,) = registry.Store(home).pools()
    assert "1 thread" in str(stored.manifest.provenance["environment"])
