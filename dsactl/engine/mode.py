"""Execution mode: everything besides the recipe that determines the bits of a result.

The checkpoint stores the mode; a run resumes in the mode that it started in, or not at all.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from dsactl.engine import native
from dsactl.engine.compilation import can_compile


@dataclass(frozen=True)
class Mode:
    """An execution mode.

    Attributes:
        device: "cpu", "cuda" or "mps".
        native: real batches and training use our own CPU layers (see `networks.fused`).
        compiled: the matching gradient is compiled (see `engine.compilation`).
        captured: steps are replayed as CUDA graphs (see `engine.graphs`).
        processes: number of processes that share the classes.
        chunk: number of classes matched at once.
    """

    device: str
    native: bool = False
    compiled: bool = False
    captured: bool = False
    processes: int = 1
    chunk: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Mode":
        """Build a mode from the values of `to_dict`.

        Raises:
            TypeError: the fields are those of another version of the program.
        """
        return cls(**values)

    def __str__(self) -> str:
        """Return a description: "cpu, native layers, compiled, 2 classes at once"."""
        words = [self.device]
        words += ["native layers"] * self.native + ["compiled"] * self.compiled + ["captured graphs"] * self.captured
        words += [f"{self.chunk} classes at once"] * (self.chunk > 1)
        words += [f"{self.processes} processes"] * (self.processes > 1)
        return ", ".join(words)


PLAIN = Mode("cpu")
"""One CPU process with torch's own layers: the slow reference that the tests compare the other modes with."""


def best_mode(device: torch.device, *, long: bool, capture: bool, processes: int = 1, chunk: int = 1) -> Mode:
    """Return the fastest mode that this machine supports.

    Args:
        device: the device of the computation.
        long: whether the run is long enough to pay for compilation, which takes half a minute.
        capture: whether steps can be captured on a GPU: tensors of one shape, and memory for the graph.
        processes: number of processes that share the classes.
        chunk: number of classes matched at once.
    """
    return Mode(
        device.type,
        native=device.type == "cpu" and native.library() is not None,
        compiled=long and can_compile(device.type),
        captured=device.type == "cuda" and capture,
        processes=processes,
        chunk=chunk,
    )


def mode_mismatch(begun: Mode, device: torch.device, processes: int) -> str | None:
    """Return how to make this process match the checkpoint's mode, or None if it already does.

    Args:
        begun: the mode of the checkpoint.
        device, processes: the current device and number of processes.
    """
    if begun.device != device.type:
        return f'use `device="{begun.device}"`'
    if begun.processes != processes:
        if begun.processes == 1:
            return "use 1 process, without torchrun"
        return f"use {begun.processes} processes, started by torchrun"
    if (begun.compiled and not can_compile(device.type)) or (begun.native and native.library() is None):
        return "install a C++ compiler, and leave DSACTL_NATIVE and DSACTL_COMPILE unset"
    return None
