"""Free memory within the limits of the machine, the container and the shell."""

import subprocess
import sys
from pathlib import Path

import pytest

from dsactl.diagnosis import memory
from dsactl.diagnosis.memory import free_memory

GB = 10**9
ROOT = Path(__file__).parents[2]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        (
            "0::/",
            {"memory.max": 4 * GB, "memory.current": 3 * GB, "memory.stat": f"anon 5\ninactive_file {GB}"},
            2 * GB,
        ),
        ("0::/", {"memory.max": "max", "memory.current": 3 * GB, "memory.stat": "anon 5"}, None),
        ("0::/a", {"memory.max": GB, "memory.current": 2 * GB, "memory.stat": "anon 5"}, 0),
        (
            "7:memory:/b\n1:cpu:/",
            {
                "memory/b/memory.limit_in_bytes": 2 * GB,
                "memory/b/memory.usage_in_bytes": GB,
                "memory/b/memory.stat": "inactive_file 1\ntotal_inactive_file 7",
            },
            GB + 7,
        ),
        ("", {}, None),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, files: dict[str, object], left: int | None) -> None:
    _write(tmp_path / "proc/self/cgroup", groups)
    _write(tmp_path / "proc/meminfo", f"MemTotal: 9 kB\nMemAvailable:   {8 * GB // 1024} kB")
    for name, text in files.items():
        _write(tmp_path / "groups" / name, str(text))
    found = free_memory(tmp_path / "proc", tmp_path / "groups")
    assert found["of the machine"] == pytest.approx(8 * GB, abs=1024)
    assert found.get("within the container's limit") == left


@pytest.mark.parametrize(
    ("limits", "state", "advice"),
    [
        ({"of the machine": 9 * GB, "within the container's limit": 8 * GB}, "ok", ""),
        ({"of the machine": 9 * GB, "within the container's limit": GB}, "slow", "docker run --memory"),
        ({"of the machine": GB // 2, "within the container's limit": GB}, "broken", "Stop other programs"),
        ({"of the machine": 9 * GB, "within the shell's limit": GB}, "slow", "ulimit -v unlimited"),
        ({}, "unknown", ""),
    ],
)
def test_what_is_free_against_what_runs_need(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], state: str, advice: str
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: limits)
    finding = next(memory.memory())
    assert finding.state == state
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)
    assert all(what in finding.found for what, free in limits.items() if free == min(limits.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
def test_a_limit_of_the_shell() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**11, 10**11)); "
    code += 'from dsactl.diagnosis.memory import free_memory; print(free_memory()["within the shell\'s limit"])'
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < int(ended.stdout) < 10**11


@pytest.mark.parametrize(("free", "state"), [(64 * 2**20, "slow"), (4 * GB, "ok")])
def test_shared_memory_for_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: str) -> None:
    class Usage:
        pass

    Usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(memory, "_SHARED", tmp_path)
    monkeypatch.setattr(memory, "is_installed", lambda package: package == "ray")
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda folder: Usage)
    *_, finding = memory.memory()
    assert (finding.check, finding.state) == ("/dev/shm", state)
    assert ("--shm-size" in finding.advice) == (state == "slow")
    monkeypatch.setattr(memory, "is_installed", lambda package: False)
    assert [each.check for each in memory.memory()] == ["memory"]
