"""Compilers: that of our own C++ layers, and torch's."""

import os
import random
import shlex
import subprocess
import time
from collections.abc import Iterator

from dsactl.diagnosis.finding import Finding, State, first_line
from dsactl.engine import code_cache, native
from dsactl.engine.compilation import compilation_error
from dsactl.engine.device import resolve_device

_INSTALL = "Install one (Debian: apt install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)."
_FOR_TORCH = "Torch needs $CXX or g++, and Python's header files (Debian: apt install g++ python3-dev)."


def cpp() -> Iterator[Finding]:
    """Build or load our C++ layers, and look where their code is kept."""
    name, slow = "C++ compiler", "a CPU takes three times as long."
    if os.environ.get("DSACTL_NATIVE") == "0":
        yield _for_cpu(name, "slow", f"DSACTL_NATIVE=0 turns our C++ layers off: {slow}", "unset DSACTL_NATIVE")
        return
    began = time.perf_counter()
    why = native.fault()
    took = {"seconds": time.perf_counter() - began}
    if why is None:
        yield Finding(name, "ok", f"{_compiler()} builds our C++ layers, and they load.", figures=took)
    elif _has_none():
        yield _for_cpu(name, "slow", f"{why}: {slow}", _INSTALL)
    else:
        change = "unset CXX, or let it name a compiler that works." if os.environ.get("CXX") else _INSTALL
        yield _for_cpu(name, "broken", f"{why}: {slow}", change)
    if (problem := code_cache.problem()) is not None:
        found = f"Compiled code cannot be kept ({problem}): every start compiles again."
        yield _for_cpu("code cache", "slow", found, "export XDG_CACHE_HOME=FOLDER, one that you can write to.")


def torch_compile() -> Iterator[Finding]:
    """Compile a function that was never compiled before."""
    name, slow = "torch.compile", "matching gradients on a CPU takes twice as long or more."
    if os.environ.get("DSACTL_COMPILE") == "0":
        yield _for_cpu(name, "slow", f"DSACTL_COMPILE=0 turns torch's compiler off: {slow}", "unset DSACTL_COMPILE")
        return
    began = time.perf_counter()
    error = compilation_error(random.random())
    seconds = time.perf_counter() - began
    if error is None:
        yield Finding(name, "ok", f"A small function was compiled in {seconds:.1f} s.", figures={"seconds": seconds})
        return
    found = f"Torch cannot compile for the CPU ({_reason(error)}): {slow}"
    yield _for_cpu(name, "slow" if _has_none() else "broken", found, _FOR_TORCH)


def _for_cpu(name: str, state: State, found: str, advice: str) -> Finding:
    """Return a finding about what only a CPU needs; where a GPU computes, nothing is slow or broken by it."""
    if resolve_device("auto").type == "cpu":
        return Finding(name, state, found, advice)
    return Finding(name, "not here", f"{found} The GPU here does not need it.")


def _has_none() -> bool:
    """Return whether no C++ compiler is installed or named."""
    return not os.environ.get("CXX") and not native.compilers()


def _compiler() -> str:
    """Return the name and version of the first compiler that says one."""
    for command in native.compilers():
        try:
            said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return said.stdout.partition("\n")[0] or shlex.join(command)
    return "A compiler"


def _reason(error: Exception) -> str:
    """Return what a compiler complains of, else the first line of what torch says."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if "error:" in line), first_line(error)).rstrip(".")
