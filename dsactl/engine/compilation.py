"""Compilation of pure functions with torch.compile, where the machine supports it."""

import contextlib
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from dsactl.engine.code_cache import TORCHS_FOLDER, code_cache, leave_unusable_folder
from dsactl.engine.device import capabilities

Function = TypeVar("Function", bound=Callable[..., object])


def can_compile(device_type: str) -> bool:
    """Return whether torch.compile works here for a device type; tries a trivial function, which takes seconds.

    On a CPU it needs a C++ compiler. On other devices the functions run uncompiled. DSACTL_COMPILE=0 turns it off.
    """
    return device_type == "cpu" and os.environ.get("DSACTL_COMPILE") != "0" and _compiles()


@functools.cache
def _compiles() -> bool:
    """Return whether a trivial function can be compiled on the CPU."""
    return compilation_error() is None


def compilation_error(constant: float = 1.0) -> Exception | None:
    """Compile a trivial function on the CPU, run it, and return what it fails with; None if it works.

    Args:
        constant: a number in the function. The code for one that was not used before is in no cache.
    """
    # A CUDA build of torch on a CPU-only machine warns that it finds no CUDA runtime.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        with _without_log("torch._dynamo"):
            compiled(lambda x: x.sin() + constant)(torch.ones(8))
    except Exception as error:  # any failure means that compilation is unavailable
        return error
    return None


@contextlib.contextmanager
def _without_log(name: str) -> Iterator[None]:
    """Log nothing of a package in a block: its tracebacks are of failures that are handled."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def compiled(function: Function) -> Function:
    """Return `function` compiled for the shapes of its calls. The first call takes up to a minute."""
    leave_unusable_folder()
    given = os.environ.get(TORCHS_FOLDER)
    if given is None or given == _torchs_own_folder():
        os.environ[TORCHS_FOLDER] = str(code_folder())
    # Imported here because loading torch's compiler takes seconds; below the above, since it uses the folder at once.
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    # Explicit, so that the vector width is part of the cache key: cached loops for another width, compiled for this
    # one, would write past the ends of their arrays.
    width = pick_vec_isa().bit_width()
    return torch.compile(function, dynamic=False, options={"cpp.simdlen": width})  # type: ignore[return-value]


def _torchs_own_folder() -> str | None:
    """Return torch's default folder, which the compiler sets the variable to when it is loaded."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    try:
        return default_cache_dir()
    except (KeyError, OSError):  # the user's name is a part of it, and this user id has none
        return None


def code_folder() -> Path:
    """Return the cache folder for compiled code, one for each kind of processor.

    Torch's own cache is shared by all processors: after moving a disk, it may hold code compiled for another one.
    """
    machine = repr((torch.__version__, torch.backends.cpu.get_cpu_capability(), sorted(capabilities().items())))
    key = hashlib.sha256(machine.encode()).hexdigest()[:16]
    return code_cache("inductor") / key
