"""How this machine computes: everything besides the recipe that decides the bits of a result.

A run that was begun in one mode goes on in that mode or not at all; its checkpoint carries the mode.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dsactl.engine import native
from dsactl.engine.compilation import can_compile


@dataclass(frozen=True)
class Mode:
    """A way to compute.

    Attributes:
        device: "cpu", "cuda" or "mps".
        native: real batches and training use our own CPU layers (see `networks.fused`).
        compiled: the matching gradient is compiled (see `engine.compilation`).
        captured: steps are replayed as CUDA graphs (see `engine.graphs`).
        processes: that share the classes.
        chunk: classes whose matching is computed at once.
    """

    device: str
    native: bool = False
    compiled: bool = False
    captured: bool = False
    processes: int = 1
    chunk: int = 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Mode":
        """The mode that `to_dict` described.

        Raises:
            TypeError: it is of another version of the program.
        """
        return cls(**values)

    def __str__(self) -> str:
        """In words: "cpu, native layers, compiled, 2 classes at once"."""
        words = [self.device]
        words += ["native layers"] * self.native + ["compiled"] * self.compiled + ["captured graphs"] * self.captured
        words += [f"{self.chunk} classes at once"] * (self.chunk > 1)
        words += [f"{self.processes} processes"] * (self.processes > 1)
        return ", ".join(words)


PLAIN = Mode("cpu")
"""One CPU process with torch's own layers: the slow way that the others are tested against."""


def best_mode(device: torch.device, *, long: bool, capture: bool, processes: int = 1, chunk: int = 1) -> Mode:
    """The fastest mode that this machine has.

    Args:
        device: to compute on.
        long: whether the work is long enough for the half minute that compiling takes.
        capture: whether the steps could be captured on a GPU: tensors of one shape, and memory for it.
        processes: that share the classes.
        chunk: classes whose matching is computed at once.
    """
    return Mode(
        device.type,
        native=device.type == "cpu" and native.library() is not None,
        compiled=long and can_compile(device.type),
        captured=device.type == "cuda" and capture,
        processes=processes,
        chunk=chunk,
    )


def difference(begun: Mode, device: torch.device, processes: int) -> str | None:
    """What keeps this process from going on in the mode that a run was begun in, as the way out; None for nothing.

    Args:
        begun: the run's mode.
        device, processes: what there is now.
    """
    if begun.device != device.type:
        return f"use --device {begun.device}"
    if begun.processes != processes:
        return f"use {begun.processes} process{'es' if begun.processes > 1 else ''} (torchrun --nproc-per-node)"
    if (begun.compiled and not can_compile(device.type)) or (begun.native and native.library() is None):
        return "install a C++ compiler, and leave DSACTL_NATIVE unset"
    return None
