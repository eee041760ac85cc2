"""The clock of a trial's steps, from which the time of long work is estimated."""

import time
from itertools import pairwise

import torch


def wait(device: torch.device) -> None:
    """Wait for a GPU to finish its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """The time between the steps of a trial, each measured after the device has finished.

    Attributes:
        marks: seconds since some fixed moment.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.marks = device, list[float]()

    def mark(self) -> None:
        """Mark the end of a step, or the start of the first."""
        wait(self._device)
        self.marks.append(time.perf_counter())

    def fastest(self, first: int = 0) -> float:
        """Return the seconds of the fastest step after mark `first`."""
        return min(later - earlier for earlier, later in pairwise(self.marks[first:]))
