"""Floating-point operations of networks.

An operation is one addition or multiplication. A gradient costs three forward passes: one forward, two backward.
"""

import math

from torch import nn

from dsactl.data.dataset import Dataset
from dsactl.networks.build import output_shapes, structure
from dsactl.networks.catalogue import NetworkSpec

GRADIENT = 3


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
