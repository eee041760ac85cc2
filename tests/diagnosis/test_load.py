"""The work of other processes, measured beside a real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsactl.diagnosis import load
from dsactl.diagnosis.load import Load, judged, measure

needs_proc = pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="no /proc/stat")


@needs_proc
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_a_busy_process_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the core that it is bound to, whatever else is at work: it takes its share, and is named among the others."""
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{core}}}); print('busy', flush=True)\nwhile True: pass"
    busy = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        monkeypatch.setattr(load, "own_cores", lambda: {core})
        found = measure()
        before = load._processes(load._PROC)
        assert busy.pid in before
    finally:
        busy.kill()
        busy.wait()
        busy.stdout.close()
    assert found.cores == 1
    assert found.others > 0.5
    assert found.busiest is not None
    assert found.busiest[2] > 0.1
    assert busy.pid not in load._processes(load._PROC)


def _proc(folder: Path, ticks: list[list[int]], processes: dict[int, tuple[str, int, int]]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [f"cpu{core} {' '.join(map(str, row))}" for core, row in enumerate(ticks)]
    (folder / "stat").write_text("\n".join([f"cpu {' '.join(['9'] * 10)}", *rows, "intr 1 2", "ctxt 5"]) + "\n")
    for pid, (name, used, core) in processes.items():
        (folder / str(pid)).mkdir(exist_ok=True)
        columns = ["S", *["0"] * 10, str(used), "0", *["0"] * 23, str(core), "0"]
        (folder / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(columns)}\n")
    return folder


@pytest.mark.parametrize(("of_new", "busiest"), [(0.5, ("a (b) c", 7, 1.0)), (2.0, ("new", 8, 2.0))])
def test_the_figures_are_those_of_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of_new: float, busiest: tuple[str, int, float]
) -> None:
    """One process comes from another core meanwhile, one begins, and one stays on a core that this one may not use."""
    per_second, here = os.sysconf("SC_CLK_TCK"), os.getpid()
    # user, nice, system, idle, waiting for disks, interrupts (two), stolen; guests are a part of user.
    _proc(tmp_path, [[0] * 10, [0] * 10, [0] * 10], {7: ("a (b) c", 0, 2), here: ("me", 0, 0), 9: ("far", 0, 2)})

    def pass_time(seconds: float) -> None:
        second = round(per_second * seconds)
        busy = [second // 2, 0, second // 4, second, second, 0, second // 4, second // 2, second, 0]
        idle = [0, 0, 0, second, 0, 0, 0, 0, 0, 0]
        _proc(tmp_path, [busy, idle, [second] * 10], {7: ("a (b) c", second, 1), 9: ("far", 5 * second, 2)})
        _proc(
            tmp_path, [busy, idle, [second] * 10], {here: ("me", 9 * second, 0), 8: ("new", round(of_new * second), 0)}
        )

    moments = iter([0.0, 10.0])
    monkeypatch.setattr(load, "own_cores", lambda: {0, 1})
    monkeypatch.setattr(load.time, "sleep", pass_time)
    monkeypatch.setattr(load.time, "perf_counter", lambda: next(moments))
    used = iter([1.0, 3.0])
    monkeypatch.setattr(load.time, "process_time", lambda: next(used))
    found = measure(10.0, tmp_path)
    assert found.cores == 2
    assert found.others == pytest.approx(1.0 - 0.2), "ten seconds of work, two of them this process's own"
    assert found.stolen == pytest.approx(0.5)
    assert found.busiest == (*busiest[:2], pytest.approx(busiest[2]))


@pytest.mark.parametrize(
    ("found", "threads", "state", "said", "advice"),
    [
        (Load(2, 0.1, 0.0, ("sh", 1, 0.1)), 2, "ok", "They keep 0.1 of 2 cores busy.", ""),
        (Load(2, 1.0, 0.0, ("sh", 1, 1.0)), 2, "slow", "ten times slower", "Stop them, or export OMP_NUM_THREADS=1."),
        (Load(2, 1.0, 0.0, ("sh", 1, 1.0)), 1, "ok", "the busiest is sh (process 1, 1.0 cores)", ""),
        (
            Load(1, 1.0, 0.0, None),
            1,
            "slow",
            "1.0 of 1 core busy, and none of them can be named",
            "has to share its core",
        ),
        (Load(8, 5.0, 0.0, ("sh", 1, 1.0)), 8, "slow", "large networks on 8 threads", "export OMP_NUM_THREADS=3."),
        (Load(64, 20.0, 0.0, ("sh", 1, 1.0)), 8, "ok", "20.0 of 64 cores", ""),
        (Load(2, 0.0, 0.9, None), 2, "slow", "virtual machines of this host take 0.9.", "Ask the machine's provider"),
    ],
)
def test_what_a_load_means_for_the_threads(found: Load, threads: int, state: str, said: str, advice: str) -> None:
    finding = judged(found, threads)
    assert (finding.state, said in finding.found) == (state, True), finding
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)


def test_the_threads_are_those_that_the_quota_leaves() -> None:
    """In a new process, where nothing else has loaded what fits torch's threads to the quota."""
    code = "import torch; from dsactl.engine import cores; cores.usable_cores = lambda: 3; torch.set_num_threads(4); "
    code += "from dsactl.diagnosis import load; load.measure = lambda: None; load.judged = lambda _, threads: threads; "
    code += "print(*load.others())"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": ""}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "3"


def test_a_system_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "measure", lambda: measure(0.0, tmp_path))
    [finding] = load.others()
    assert finding.state == "not here"
