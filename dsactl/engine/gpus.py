"""CUDA devices: how many there are, and whether this build of torch can compute on them."""

import functools
import os
import re
import warnings
from pathlib import Path

import torch


def visible_gpus() -> tuple[int, str]:
    """Return the number of CUDA devices and, if there are none although there should be some, why.

    Torch says why in a warning with its own line of code, which is not for the user.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return count, ""
    for warning in said:
        if (found := re.search(r"(?:CUDA initialization: )([^\n]*?\.)(?: |$)", str(warning.message))) is not None:
            return 0, found[1]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if chosen.strip() not in ("", "-1", "NoDevFiles") and torch.version.cuda and Path("/dev/nvidiactl").exists():
        return 0, f"CUDA_VISIBLE_DEVICES is {chosen!r}."
    return 0, ""


@functools.cache
def gpu_fault(index: int) -> str | None:
    """Return why this build of torch cannot compute on a CUDA device; None if it can, as far as is known.

    Nothing is computed: that would take some of the memory of a device which this process may not use in the end.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, many lines long, about what is found out below
            name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
            kernels = torch.cuda.get_arch_list() if torch.version.hip is None else []
    except (RuntimeError, AssertionError) as error:  # a driver that is missing, broken or too old
        return str(error).strip().splitlines()[0]
    if not kernels or any(_runs_on(kernel, capability) for kernel in kernels):
        return None
    major, minor = capability
    return (
        f"{name} is of compute capability {major}.{minor}, and torch {torch.__version__} is for {', '.join(kernels)}."
    )


def _runs_on(kernel: str, capability: tuple[int, int]) -> bool:
    """Return whether a kernel runs: code (sm_86) on its own major version, PTX (compute_90) on every later device."""
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", kernel)
    if found is None:
        return False
    wanted = int(found[2]), int(found[3])
    return wanted <= capability and (found[1] == "compute" or wanted[0] == capability[0])
