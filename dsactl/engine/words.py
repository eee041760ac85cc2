"""Names of devices, precisions and clusters, as the user gives them. Importing this does not import torch."""

import re
from typing import Literal, get_args

from dsactl.errors import DeviceError, UsageError

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_DEVICE = re.compile(r"auto|(cpu|mps)(:0)?|cuda(:(0|[1-9]\d?))?", re.ASCII)


def check_device(name: str) -> None:
    """Check the syntax of a device name, without looking for the device.

    Raises:
        DeviceError: an unknown name; the hint lists the valid ones.
    """
    if not _DEVICE.fullmatch(name):
        raise DeviceError(f"Unknown device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")


def check_precision(name: str) -> None:
    """Check the name of a precision, without looking at the device.

    Raises:
        DeviceError: an unknown name; the hint lists the valid ones.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"Unknown precision {name!r}.", f"Use one of {', '.join(PRECISIONS)}.")


AUTO, OFF = "auto", "off"
"""Choices for where tasks run, besides the address of a cluster."""


def check_cluster(where: str) -> None:
    """Check the address of a Ray cluster, "auto" or "off".

    Raises:
        UsageError: an address without a port.
    """
    if where not in (AUTO, OFF) and ":" not in where:
        raise UsageError(f"{where} is not an address of a cluster.", "Give it as host:port.")


def check_gpu_share(share: float) -> None:
    """Check the share of a GPU that a task takes.

    Raises:
        UsageError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise UsageError(f"A task takes a share of a GPU above 0 and at most 1, not {share:g}.")
