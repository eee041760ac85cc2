"""Floating-point operations of networks, and the clock of a trial's steps.

An operation is one addition or multiplication. A gradient costs three forward passes: one forward, two backward.
"""

import math
import time
from itertools import pairwise

import torch
from torch import nn

from dsactl.data.dataset import Dataset
from dsactl.networks.build import output_shapes, structure
from dsactl.networks.catalogue import NetworkSpec

GRADIENT = 3


class Clock:
    """The time between the steps of a trial, each measured after the device has finished.

    Attributes:
        marks: seconds since some fixed moment.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self.marks = device, list[float]()

    def mark(self) -> None:
        """Mark the end of a step, or the start of the first."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.marks.append(time.perf_counter())

    def fastest(self, first: int = 0) -> float:
        """Return the seconds of the fastest step after mark `first`."""
        return min(later - earlier for earlier, later in pairwise(self.marks[first:]))


def forward_operations(spec: NetworkSpec, dataset: Dataset) -> float:
    """Count the operations of one image's forward pass: those of convolutions and linear layers only."""
    network = structure(spec, dataset.channels, dataset.size, dataset.classes)
    shapes = output_shapes(network, (dataset.channels, *dataset.size))
    # Each output of such a layer is a sum of one product per weight of its unit.
    return float(
        sum(
            2 * math.prod(output) * layer.weight[0].numel()
            for layer, output in shapes
            if isinstance(layer, nn.Conv2d | nn.Linear)
        )
    )
