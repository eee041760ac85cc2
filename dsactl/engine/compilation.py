"""Compile pure functions with torch.compile, where this machine can."""

import functools
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

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
    return torch.compile(function, dynamic=False)  # type: ignore[return-value]
