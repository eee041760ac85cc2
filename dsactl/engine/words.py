"""The names of precisions and devices, as they are given. Importing this imports no torch."""

import re
from typing import Literal, get_args

from dsactl.errors import DeviceError

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?", re.ASCII)


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
