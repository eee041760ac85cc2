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


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the digest of the pool made by one process with one thread."""
    done = finished([*EXPERTS, "--ray", "off"], tmp_path_factory.mktemp("straight"))
    return str(json.loads(done.stdout)["digest"])


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["a worker", "the driver"])
def test_whoever_is_killed_the_pool_is_the_same(straight: str, tmp_path: Path, whom: str) -> None:
    """One is killed when a network has a checkpoint; what it leaves is continued, on Ray or by one process."""
    home = tmp_path / "store"
    process = processes.start(*EXPERTS, "--ray", "auto", env={**os.environ, **ALIKE, "DSACTL_HOME": str(home)})
    end = time.monotonic() + 120
    while not (any(home.glob("runs/experts/*/network-*.safetensors")) and (busy := working(process.pid))):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    if whom == "a worker":
        os.kill(busy[0], signal.SIGKILL)
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    else:
        process.kill()
        process.communicate(timeout=60)
        while any(Path(f"/proc/{worker}").exists() for worker in busy):
            assert time.monotonic() < end, "a worker is still running without its driver"
            time.sleep(0.1)
        assert registry.Store(home).pools() == []
        assert any(home.glob("runs/experts/*/network-*.safetensors"))
        out = finished([*EXPERTS, "--ray", "off"], home).stdout
    assert json.loads(out)["digest"] == straight
    (stored,) = registry.Store(home).pools()
    assert "1 thread" in str(stored.manifest.provenance["environment"])
