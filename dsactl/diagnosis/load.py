"""How busy other processes keep the cores, measured over a second."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dsactl.diagnosis.finding import Finding
from dsactl.diagnosis.processor import thread_count
from dsactl.engine.cores import own_cores
from dsactl.text.formatting import many

_PROC = Path("/proc")
_IDLE, _STOLEN = (3, 4), 7  # columns of /proc/stat: idle and waiting for disks; time of other virtual machines
_MARGIN = 0.3  # of a core, for what every machine does all the time


@dataclass(frozen=True)
class Load:
    """Work of other processes on the cores that this process may use.

    Attributes:
        cores: how many these are.
        others: how many of them other processes keep busy.
        stolen: how many of them other virtual machines of the host take.
        busiest: name, number and cores of the busiest other process; None if none is visible that does anything.
    """

    cores: int
    others: float
    stolen: float
    busiest: tuple[str, int, float] | None


def measure(seconds: float = 1.0, proc: Path = _PROC) -> Load:
    """Measure the load over some seconds.

    Raises:
        OSError: this system has no /proc/stat.
    """
    before, processes, own, began = _cores(proc), _processes(proc), time.process_time(), time.perf_counter()
    time.sleep(seconds)
    after, later, own_after, ended = _cores(proc), _processes(proc), time.process_time(), time.perf_counter()
    elapsed, per_second = ended - began, os.sysconf("SC_CLK_TCK")
    busy = (after[0] - before[0]) / per_second - (own_after - own)
    stolen = (after[1] - before[1]) / per_second
    used = {
        pid: (process.ticks - (processes[pid].ticks if pid in processes else 0)) / per_second / elapsed
        for pid, process in later.items()
        if process.core in own_cores() and pid != os.getpid()
    }
    top = max(used, key=used.__getitem__, default=0)
    busiest = (later[top].name, top, used[top]) if used.get(top, 0) > 0.05 else None
    return Load(len(own_cores()), max(0.0, busy / elapsed), max(0.0, stolen / elapsed), busiest)


def _cores(proc: Path) -> tuple[int, int]:
    """Return the ticks so far in which the cores were busy, and in which the host gave them to others."""
    busy = stolen = 0
    for line in (proc / "stat").read_text().splitlines():
        name, *columns = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in own_cores():
            ticks = list(map(int, columns[:8]))  # what follows is part of the first two
            busy += sum(each for column, each in enumerate(ticks) if column not in (*_IDLE, _STOLEN))
            stolen += ticks[_STOLEN] if len(ticks) > _STOLEN else 0
    return busy, stolen


class _Process(NamedTuple):
    """Name of a process, its ticks so far, and the core that it was on last."""

    name: str
    ticks: int
    core: int


def _processes(proc: Path) -> dict[int, _Process]:
    """Return every visible process by its number."""
    found = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
                head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
                columns = tail.split()
                ticks = int(columns[11]) + int(columns[12])
                found[int(folder.name)] = _Process(head.partition("(")[2], ticks, int(columns[36]))
    return found


def others() -> Iterator[Finding]:
    """Compare torch's threads with the cores that other processes leave free."""
    try:
        load = measure()
    except OSError:
        yield Finding("other processes", "not here", "This system has no /proc/stat to measure them by.")
        return
    yield judged(load, thread_count())


def judged(load: Load, threads: int) -> Finding:
    """Return the finding for a load beside this many threads."""
    free = load.cores - load.others
    figures = {"busy_cores": load.others, "stolen_cores": load.stolen, "cores": load.cores}
    found = f"They keep {load.others:.1f} of {many(load.cores, 'core')} busy."
    if load.others > _MARGIN:
        found = found[:-1] + (
            "; the busiest is {} (process {}, {:.1f} cores).".format(*load.busiest)
            if load.busiest
            else ", and none of them can be named: they have ended, or are hidden."
        )
    if load.stolen > _MARGIN:
        found += f" Other virtual machines of this host take {load.stolen:.1f}."
    if threads <= free + _MARGIN:
        state, advice = (
            ("slow", "Ask the machine's provider for cores of its own.") if load.stolen > _MARGIN else ("ok", "")
        )
        return Finding("other processes", state, found, advice, figures)  # type: ignore[arg-type]
    if threads == 1:
        advice = "Stop them, or wait for them: the one thread here has to share its core."
    else:
        left = max(1, int(free + _MARGIN))
        found += f" Beside a busy process, large networks on {threads} threads are up to ten times slower."
        advice = f"Stop them, or export OMP_NUM_THREADS={left}."
    return Finding("other processes", "slow", found, advice, figures)
