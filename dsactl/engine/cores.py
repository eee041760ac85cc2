"""The cores that this process may use: those of its affinity, and no more than the CPU quota of its container."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self/cgroup")
_MOUNTS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the number of cores that this process may keep busy, at least 1."""
    return max(1, math.ceil(min(len(own_cores()), cpu_quota())))


def own_cores() -> set[int]:
    """Return the numbers of the cores that the affinity of this process allows; all where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cpu_quota(proc: Path = _PROC, mounts: Path = _MOUNTS) -> float:
    """Return the smallest CPU quota of this process's control groups in cores; infinity without one.

    Args:
        proc: lists the process's groups.
        mounts: where the groups are mounted, of version 1 or 2 of cgroups, or both.
    """
    return min(_quotas(proc, mounts), default=math.inf)


def _quotas(proc: Path, mounts: Path) -> Iterator[float]:
    for version, folder in control_groups("cpu", proc, mounts):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):  # no such group, or "max"
            yield (_quota_of_2 if version == 2 else _quota_of_1)(folder)


def control_groups(controller: str, proc: Path = _PROC, mounts: Path = _MOUNTS) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of each control group that may limit this process; some may not exist.

    Args:
        controller: "cpu" or "memory".
        proc, mounts: see `cpu_quota`.
    """
    try:
        lines = proc.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            version, roots = 2, (mounts, mounts / "unified")
        elif controller in controllers.split(","):
            version, roots = 1, (mounts / controllers, mounts / controller)
        else:
            continue
        group = PurePosixPath(path)
        for root in roots:
            # In a container the path may be the host's, where only the root of the mount is the container's own group.
            for part in (group, *group.parents):
                with contextlib.suppress(ValueError):
                    yield version, root / part.relative_to("/")


def _quota_of_2(folder: Path) -> float:
    quota, period = map(int, (folder / "cpu.max").read_text().split())
    return quota / period


def _quota_of_1(folder: Path) -> float:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    if quota <= 0:
        raise ValueError("no quota")
    return quota / period
