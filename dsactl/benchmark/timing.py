"""Timing of repeated work, and the speed of a large matrix product, which it is compared with."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from dsactl.engine.clock import wait
from dsactl.engine.processes import SINGLE_PROCESS, DryRunGroup

STEPS = 5  # timed, after two that warm up caches, allocators and compilers
WARM_UP = 2
SECONDS = 20.0  # per kind of work; slower machines run a part of it and scale up, so that all takes about two minutes
FEWEST = 5  # repetitions that must fit into this time, warm-up included
EXPECTED_SHARE = 0.4  # of a matrix product's speed, from which the time of a piece of work is guessed
MATRICES = (4096, 2048, 1024)


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work.

    Attributes:
        median, low, high: over the repetitions.
        repetitions: number of repetitions.
        operations: floating-point operations of the piece.
        share: utilisation, as a fraction of the speed of a large matrix product in the same precision.
    """

    median: float
    low: float
    high: float
    repetitions: int
    operations: float
    share: float

    @classmethod
    def of(cls, measured: list[float], operations: float, limit: float) -> "Timing":
        """Return the timing of repetitions.

        Args:
            measured: seconds of each.
            operations: of the piece.
            limit: operations per second of a large matrix product.
        """
        median = statistics.median(measured)
        return cls(median, min(measured), max(measured), len(measured), operations, operations / median / limit)


def matrix_product(device: torch.device, precision: str) -> float:
    """Return operations per second of a product of two large square matrices, the fastest of a few repetitions.

    They are as large as fits into the time on this machine.
    """
    speed = 0.0
    for side in reversed(MATRICES):
        if speed and 2 * side**3 / speed * FEWEST > SECONDS / 2:
            break
        a, b = torch.randn(2, side, side, device=device).to(getattr(torch, precision)).unbind()
        speed = 2 * side**3 / min(timed(partial(torch.matmul, a, b), device))
    return speed


def timed(step: Callable[[], object], device: torch.device) -> list[float]:
    """Return the seconds of each of a few steps: `STEPS`, or at least three if they are slow."""
    for _ in range(WARM_UP):
        step()
    measured: list[float] = []
    began = time.perf_counter()
    while wants_more(len(measured), time.perf_counter() - began):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        measured.append(time.perf_counter() - start)
    return measured


def wants_more(repetitions: int, seconds: float) -> bool:
    """Return whether to repeat a piece of work once more: `STEPS` times, or at least three if it is slow."""
    return repetitions < 3 or (repetitions < STEPS and seconds < SECONDS)


def fitting(operations: float, limit: float, part: float = 1.0) -> float:
    """Return how many times a number of operations should fit into a part of the time."""
    return part * SECONDS * EXPECTED_SHARE * limit / operations


class FirstClasses(DryRunGroup):
    """A process that has only the first classes.

    Args:
        classes: number of these.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(SINGLE_PROCESS)
        self._classes = classes

    def share(self, classes: int) -> range:
        """Return the first of them."""
        return range(min(classes, self._classes))
