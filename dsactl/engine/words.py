"""The words for where and how to compute, as they are given. Importing this imports no torch."""

import re
from typing import Literal, get_args

from dsactl.errors import DeviceError, UsageError

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_DEVICE = re.compile(r"auto|(cpu|mps)(:0)?|cuda(:(0|[1-9]\d?))?", re.ASCII)


def check_device(name: str) -> None:
    """Refuse what is no name of a device, before it is known which are here.

    Raises:
        DeviceError: says which there are.
    """
    if not _DEVICE.fullmatch(name):
        raise DeviceError(f"Unknown device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")


def check_precision(name: str) -> None:
    """Refuse what is no name of a precision, before it is known where to compute.

    Raises:
        DeviceError: says which there are.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"Unknown precision {name!r}.", f"Use one of {', '.join(PRECISIONS)}.")


AUTO, OFF = "auto", "off"
"""Where tasks go, beside the address of a cluster."""


def check_cluster(where: str) -> None:
    """Refuse what is no address of a Ray cluster, nor a word in place of one.

    Raises:
        UsageError: it has no port.
    """
    if where not in (AUTO, OFF) and ":" not in where:
        raise UsageError(f"{where} is no address of a cluster.", "It is host:port.")


def check_gpu_share(share: float) -> None:
    """Refuse what is no share of a GPU that a task could take.

    Raises:
        UsageError: says what is.
    """
    if not 0 < share <= 1:
        raise UsageError(f"A task takes a share of a GPU above 0 and at most 1, not {share:g}.")
