"""The random coreset: real images of each class, drawn without replacement (Section 4.2)."""

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset
from dsactl.engine.random import generator


def choose(real: Dataset, ipc: int, seed: int) -> Tensor:
    """`ipc` real images of every class.

    Args:
        real: the data set.
        ipc: images per class.
        seed: of the choice.

    Returns:
        K×I×C×H×W, normalised, on the set's device.
    """
    return torch.stack([real.draw(label, ipc, generator(seed, "coreset", label)) for label in range(real.classes)])
