"""Free memory: of the machine, within the limits of the container and of the shell."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dsactl.diagnosis.finding import Finding
from dsactl.engine.cores import control_groups
from dsactl.text.formatting import bytes_in_words
from registry.extras import is_installed

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_SHARED = Path("/dev/shm")
_USUAL = 2 * 10**9  # bytes: most runs take 1 to 1.5 GB (docs/performance.md)
_LEAST = 6 * 10**8  # bytes: torch and a small network
_OF_RAY = 10**9  # bytes of /dev/shm, for the images that its workers share


def memory() -> Iterator[Finding]:
    """Compare the free memory with what runs usually need."""
    limits = free_memory()
    if not limits:
        yield Finding("memory", "unknown", "This system does not say how much memory is free.")
    else:
        what, free = min(limits.items(), key=lambda item: item[1])
        found = f"{bytes_in_words(free)} free ({what}); most runs need up to {bytes_in_words(_USUAL)}."
        state, advice = ("ok", "") if free >= _USUAL else ("slow", _ADVICE[what])
        if free < _LEAST:
            state = "broken"
        yield Finding("memory", state, found, advice, {"free_bytes": free})  # type: ignore[arg-type]
    if _SHARED.is_dir() and is_installed("ray"):
        free = shutil.disk_usage(_SHARED).free
        advice = "Enlarge it (docker run --shm-size 4g); until then Ray works through files." if free < _OF_RAY else ""
        found = f"{bytes_in_words(free)} free, where Ray's workers share images."
        yield Finding("/dev/shm", "slow" if advice else "ok", found, advice, {"free_bytes": free})


_MACHINE, _CONTAINER, _SHELL = "of the machine", "within the container's limit", "within the shell's limit"
_ADVICE = {
    _MACHINE: "Stop other programs, or use a smaller network.",
    _CONTAINER: "Raise the limit (docker run --memory, Kubernetes limits.memory, Slurm's mem).",
    _SHELL: "ulimit -v unlimited",
}


def free_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> dict[str, int]:
    """Return the bytes that each limit leaves free: the machine's, and those of control groups and the shell."""
    found = {}
    with contextlib.suppress(OSError, AttributeError, ValueError):
        text = (proc / "meminfo").read_text()
        found[_MACHINE] = 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1])  # type: ignore[index]
    left = [_left(*group) for group in control_groups("memory", proc / "self/cgroup", groups)]
    if any(each is not None for each in left):
        found[_CONTAINER] = min(each for each in left if each is not None)
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        with contextlib.suppress(OSError, ValueError):
            if limit != resource.RLIM_INFINITY:
                pages = int((proc / "self/statm").read_text().split()[0])
                found[_SHELL] = max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return found


def _left(version: int, folder: Path) -> int | None:
    """Return the bytes that a control group leaves; None without a limit. Files in the cache give way."""
    limit, usage, cache = _FILES[version]
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return max(0, most - used + int(stat.get(cache, 0)))


_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
