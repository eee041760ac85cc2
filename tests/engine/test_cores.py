"""Threads: the cores of the affinity, and no more than the CPU quota of a container."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsactl.engine import cores
from dsactl.engine.cores import cpu_quota, usable_cores

ROOT = Path(__file__).parents[2]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        # Version 2: a container's own root, and a group within another that has less.
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"}, 0.5),
        ("0::/a", {}, math.inf),
        ("0::/", {"cpu.max": "nonsense"}, math.inf),
        ("0::/", {"cpu.max": "100000 0"}, math.inf),
        # Version 1, also where the path is the host's and the mount is the container's.
        ("3:cpu,cpuacct:/q", {"cpu,cpuacct/q/cpu.cfs_quota_us": "300000"}, 3.0),
        ("3:cpu:/q", {"cpu/q/cpu.cfs_quota_us": "-1"}, math.inf),
        ("5:memory:/m\n4:cpuacct,cpu:/docker/1234", {"cpu/cpu.cfs_quota_us": "25000"}, 0.25),
        # Both.
        ("0::/\n2:cpu:/", {"unified/cpu.max": "400000 100000", "cpu/cpu.cfs_quota_us": "200000"}, 2.0),
        ("nonsense", {}, math.inf),
        ("", {}, math.inf),
    ],
)
def test_the_quota_is_the_smallest_of_the_groups(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float
) -> None:
    _write(tmp_path / "cgroup", groups)
    for name, text in files.items():
        _write(tmp_path / "fs" / name, text)
        if name.endswith("quota_us"):
            _write((tmp_path / "fs" / name).with_name("cpu.cfs_period_us"), "100000")
    assert cpu_quota(tmp_path / "cgroup", tmp_path / "fs") == quota


def test_without_linux_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nothing", tmp_path) == math.inf


@pytest.mark.parametrize(("affinity", "quota", "expected"), [(8, math.inf, 8), (8, 2.1, 3), (2, 5.0, 2), (4, 0.2, 1)])
def test_a_part_of_a_core_counts_as_one(
    monkeypatch: pytest.MonkeyPatch, affinity: int, quota: float, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(affinity)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert usable_cores() == expected


_THREADS = """
import torch
from dsactl.engine import cores
cores.usable_cores = lambda: torch.get_num_threads() - 1
torch.set_num_threads(4)  # as on a machine with four cores
import dsactl.engine.device
print(torch.get_num_threads())
"""


@pytest.mark.parametrize(("variable", "expected"), [(None, "3"), ("", "3"), ("4", "4")])
def test_torch_has_as_many_threads_unless_the_user_says_otherwise(variable: str | None, expected: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    if variable is not None:
        environment["OMP_NUM_THREADS"] = variable
    command = [sys.executable, "-c", _THREADS]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_fewer_cores_by_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from dsactl.engine.cores import usable_cores; print(usable_cores())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1"
