"""Our C++ extension for the CPU, built once for each machine and cached; absent without a C++ compiler."""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs
import torch

from dsactl.engine.device import capabilities

_SOURCE = Path(__file__).with_name("instance_block.cpp")
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-w")
_TIMEOUT = 120.0  # seconds for the compiler, which takes about two


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled library; build it if it is not in the cache (some seconds).

    The compiler is `$CXX`, else c++, g++ or clang++. DSACTL_NATIVE=0 turns the library off.

    Returns:
        None if there is no compiler or it fails: everything works without, at a third of the speed.
    """
    if os.environ.get("DSACTL_NATIVE") == "0":
        return None
    found = next(filter(shutil.which, ("c++", "g++", "clang++")), "")
    compiler = shlex.split(os.environ.get("CXX") or found)
    if not compiler:
        return None
    try:
        return ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, subprocess.SubprocessError):
        return None


def compiler_remark(device: torch.device) -> list[str]:
    """Return a remark if networks on this device are slow because no compiler was found; otherwise an empty list."""
    if device.type != "cpu" or os.environ.get("DSACTL_NATIVE") == "0" or library() is not None:
        return []
    return ["No working C++ compiler (c++, g++ or clang++): on a CPU everything takes about three times as long."]


def _compiled(compiler: list[str]) -> Path:
    """Build the library unless it is cached, and return its path, keyed by everything that it depends on."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=_TIMEOUT).stdout
    machine = repr((_FLAGS, torch.__version__, sorted(capabilities().items()))).encode()
    digest = hashlib.sha256(b"\0".join([_SOURCE.read_bytes(), version, machine])).hexdigest()
    folder = Path(platformdirs.user_cache_dir("dsactl", appauthor=False)) / "native"
    target = folder / f"{digest[:32]}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / target.name
            command = [*compiler, *_FLAGS, str(_SOURCE), "-o", str(made)]
            subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT)
            made.replace(target)
    return target
