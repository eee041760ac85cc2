"""The clock of a trial's steps, from which the time of long work is estimated."""

import math
import time
from collections.abc import Sequence
from itertools import pairwise

import torch


def wait(device: torch.device) -> None:
    """Wait for a GPU to finish its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def upper_quartile(seconds: Sequence[float]) -> float:
    """Return the upper quartile of times: above the median, since a processor that gets warm gets slower."""
    return sorted(seconds)[math.ceil(0.75 * len(seconds)) - 1]


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

    def spans(self, first: int = 0) -> list[float]:
        """Return the seconds of each step after mark `first`."""
        return [later - earlier for earlier, later in pairwise(self.marks[first:])]

    def fastest(self, first: int = 0) -> float:
        """Return the seconds of the fastest step after mark `first`."""
        return min(self.spans(first))
