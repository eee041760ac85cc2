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
    # Loaded here, since it is torch's compiler, and takes seconds.
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # The compiler names its own folder there as soon as it is loaded; another folder is the user's choice.
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, default_cache_dir()):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(code_folder())
    # Said, so that it is part of the key of what is kept: torch's loops over vectors of another width, found there and
    # compiled for this one, would write past the ends of their arrays.
    width = pick_vec_isa().bit_width()
    return torch.compile(function, dynamic=False, options={"cpp.simdlen": width})  # type: ignore[return-value]


def code_folder() -> Path:
    """Where compiled code is kept, apart for each kind of processor.

    Torch has one folder for all, where a machine may find code that was made for another, as after a move of the disk.
    """
    machine = repr((torch.__version__, torch.backends.cpu.get_cpu_capability(), sorted(capabilities().items())))
    key = hashlib.sha256(machine.encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("dsactl", appauthor=False)) / "inductor" / key
