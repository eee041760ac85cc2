"""All checks, one after the other."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from dsactl.diagnosis.finding import Finding, first_line
from dsactl.engine.progress import Progress

CHECKS: tuple[tuple[str, str, str], ...] = (
    ("packages", "loading torch", "packages:required"),
    ("other processes", "watching other processes for a second", "load:others"),
    ("processor", "reading the processor's instructions", "processor:instructions"),
    ("threads", "comparing threads and cores", "processor:threads"),
    ("speed", "multiplying matrices", "speed:speed"),
    ("C++ compiler", "building our C++ layers", "compilers:cpp"),
    ("torch.compile", "compiling a small function with torch", "compilers:torch_compile"),
    ("CUDA", "computing on the GPU", "gpu:cuda"),
    ("MPS", "computing on the GPU", "gpu:mps"),
    ("memory", "reading the free memory", "memory:memory"),
    ("store", "reading the store", "folders:store"),
    ("disk", "flushing small files to disk", "disk:disks"),
    ("data", "looking for datasets", "folders:data"),
    ("extras", "looking for optional packages", "packages:extras"),
    ("Hub", "looking for the Hub's client", "hub:settings"),
)
"""Name, what it does meanwhile, and `module:function` of each check. What is measured comes before what makes work.

The functions yield findings. Their modules are imported when their turn comes, so that one that cannot be imported is
a finding as well.
"""
ONLINE = ("Hub, online", "asking the Hub", "hub:reach")


def doctor(*, online: bool = False, progress: Progress | None = None) -> list[Finding]:
    """Check what slows this machine and what is broken on it, in about ten seconds.

    Nothing is changed, except that the folder of compiled code gets about 200 kB.

    Args:
        online: also ask whether the Hub can be reached, for at most five seconds.
        progress: the meter, which counts checks; None for none.

    Returns:
        The findings, in the order of the checks. A check that fails itself gives one of the state "unknown".

    Examples:
        >>> import dsactl
        >>> [found.check for found in dsactl.doctor() if found.state == "broken"]  # doctest: +SKIP
        []
    """
    meter = progress or Progress()
    checks = [*CHECKS, *([ONLINE] if online else [])]
    findings: list[Finding] = []
    for index, (name, doing, home) in enumerate(checks):
        meter.update(index, len(checks), doing)
        findings += guarded(name, partial(_found, home))
    meter.update(len(checks), len(checks))
    return findings


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a check finds; if it fails, what it found until then, and that it failed."""
    findings: list[Finding] = []
    try:
        for finding in check():
            findings.append(finding)
    except ImportError as error:
        findings.append(Finding(name, "unknown", f"Not checked: {first_line(error)}."))
    except Exception as error:  # whatever is wrong with the machine, the other checks go on
        what = f"The check itself failed: {type(error).__name__}, {first_line(error)}."
        findings.append(Finding(name, "unknown", what, "Please report it, with all lines here."))
    return findings


def _found(home: str) -> Iterator[Finding]:
    module, _, function = home.partition(":")
    yield from getattr(importlib.import_module(f"dsactl.diagnosis.{module}"), function)()
