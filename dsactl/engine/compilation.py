"""Compile pure functions with torch.compile, where this machine can."""

import functools
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs
import torch

from dsactl.engine.device import capabilities

Function = TypeVar("Function", bound=Callable[..., object])


@functools.cache
def can_compile(device_type: str) -> bool:
    """Whether torch.compile makes code for this kind of device here; tried out on a trivial function, some seconds.

    On a CPU it needs a C++ compiler. On other devices the functions run uncompiled.
    """
    if device_type != "cpu":
        return False
    # It warns that no CUDA runtime is found where a CUDA build runs on a CPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        compiled(lambda x: x.sin() + 1)(torch.ones(8))
    except Exception:  # whatever is missing, the answer is no
        return False
    return True


def compiled(function: Function) -> Function:
    """`function`, compiled for the shapes it is called with. The first call takes up to a minute."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(code_folder()))
    return torch.compile(function, dynamic=False)  # type: ignore[return-value]


def code_folder() -> Path:
    """Where compiled code is kept, apart for each kind of processor.

    Torch has one folder for all: code for AVX-512 that is found by a process which keeps to AVX2, as after a move to
    another machine, computes no numbers.
    """
    machine = repr((torch.__version__, torch.backends.cpu.get_cpu_capability(), sorted(capabilities().items())))
    key = hashlib.sha256(machine.encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("dsactl", appauthor=False)) / "inductor" / key
