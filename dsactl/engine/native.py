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

import torch

from dsactl.engine import code_cache
from dsactl.engine.device import capabilities

_SOURCE = Path(__file__).with_name("instance_block.cpp")
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-w")
_TIMEOUT = 120.0  # seconds for the compiler, which takes about two
_SLOW = "on a CPU everything takes about three times as long."


def library() -> ctypes.CDLL | None:
    """Return the compiled library; build it if it is not in the cache (some seconds).

    The compiler is `$CXX`, else the first of c++, g++ and clang++ that works. DSACTL_NATIVE=0 turns the library off.

    Returns:
        None if there is no compiler or it fails: everything works without, at a third of the speed.
    """
    return None if _is_off() else _found()[0]


def compiler_remark(device: torch.device) -> list[str]:
    """Return a remark if networks on this device are slow, or are compiled at every start; otherwise an empty list."""
    if device.type != "cpu" or _is_off():
        return []
    found, why = _found()
    if found is None:
        return [f"{why}: {_SLOW}"]
    if (problem := code_cache.problem()) is None:
        return []
    return [f"Compiled code cannot be kept ({problem}); every start compiles it again. Set XDG_CACHE_HOME to a folder."]


def fault() -> str | None:
    """Return why the library cannot be built or loaded; None if it can."""
    found, why = _found()
    return None if found is not None else why


def compilers() -> list[list[str]]:
    """Return the commands of the C++ compilers to try, in this order.

    Raises:
        ValueError: CXX is not a command.
    """
    chosen = shlex.split(os.environ.get("CXX", ""))
    return [chosen] if chosen else [[name] for name in ("c++", "g++", "clang++") if shutil.which(name)]


def _is_off() -> bool:
    return os.environ.get("DSACTL_NATIVE") == "0"


@functools.cache
def _found() -> tuple[ctypes.CDLL | None, str]:
    """Return the library, or None and why there is none."""
    try:
        tried = compilers()
    except ValueError as error:
        return None, f"CXX is not a command ({error})"
    why = "No C++ compiler (c++, g++ or clang++)"
    for compiler in tried:
        try:
            folder = code_cache.code_cache("native")
        except OSError as error:
            return None, f"Compiled code can be kept neither in the cache folder nor in a temporary one ({error})"
        try:
            return _load(compiler, folder), ""
        except (OSError, subprocess.SubprocessError) as error:
            why = f"The C++ compiler {shlex.join(compiler)} does not work ({_reason(error)})"
    return None, why


def _reason(error: Exception) -> str:
    """Return the compiler's own first complaint, or what the system said."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").splitlines()
        return next((line for line in lines if "error" in line), f"it ends with code {error.returncode}")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it takes more than {_TIMEOUT:.0f} s"
    return getattr(error, "strerror", None) or str(error)


def _load(compiler: list[str], folder: Path) -> ctypes.CDLL:
    """Load the library; build it if it is not in the cache, or damaged there."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, timeout=_TIMEOUT).stdout
    machine = repr((_FLAGS, torch.__version__, sorted(capabilities().items()))).encode()
    digest = hashlib.sha256(b"\0".join([_SOURCE.read_bytes(), version, machine])).hexdigest()
    target = folder / f"{digest[:32]}.so"
    if target.exists():
        try:
            return ctypes.CDLL(str(target))
        except OSError:  # cut off, as by a power cut
            pass
    _build(compiler, target)
    return ctypes.CDLL(str(target))


def _build(compiler: list[str], target: Path) -> None:
    """Compile the library to a file, which appears when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        subprocess.run(
            [*compiler, *_FLAGS, str(_SOURCE), "-o", str(made)],
            env={**os.environ, "TMPDIR": scratch},  # the compiler's usual one may not be writable
            capture_output=True,
            check=True,
            timeout=_TIMEOUT,
        )
        made.replace(target)
