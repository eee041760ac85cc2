"""Files of torch.save, of both formats, as the authors' program and its relatives write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SHAPE, CLASSES = (1, 3, 2), 2
IMAGES = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 1, 1])
FORMATS = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


def save(content: Any, path: Path, new: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


def authors(experiments: int = 2) -> dict[str, Any]:
    """As the authors' main.py saves it."""
    pairs = [[IMAGES + index, LABELS.clone()] for index in range(experiments)]
    accuracies = [np.float64(0.25), np.float32(0.5), np.mean([0.1, 0.2])]
    return {"data": pairs, "accs_all_exps": {"ConvNet": accuracies, "MLP": []}}
