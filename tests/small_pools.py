"""Pools of small experts, of a few digits of every class, for tests."""

from dataclasses import replace
from typing import Any

import torch

import dsactl
import registry
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.data.load import load_dataset
from dsactl.expert_pools.make import PoolJob, prepare
from dsactl.expert_pools.recipe import PoolRequest

CPU = torch.device("cpu")
TINY = dsactl.NetworkSpec(width=16)
SMALL: dict[str, Any] = {"networks": 2, "epochs": 2, "network": TINY, "precision": "float32"}


def few_digits() -> Dataset:
    """A few digits of every class."""
    whole = load_dataset("digits")
    chosen = torch.cat([torch.arange(start, start + 15) for start in whole.train.starts])
    train = ImageSet(whole.train.images_NCHW[chosen], whole.train.labels_N[chosen], (15,) * 10)
    return replace(whole, train=train)


def job(dataset: Dataset, name: str | None = None, **options: Any) -> PoolJob:
    own = None if name is None else registry.parse_name(name)
    return prepare(PoolRequest.parse({**SMALL, **options}), dataset, CPU, own)
