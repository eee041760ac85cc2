"""Pools of experts: networks that were trained on real data, each kept at some epochs.

A pool's tensors are named `NETWORK.EPOCH.NAME`: `0.60.features.0.weight` is the tensor `features.0.weight` of network 0
after 60 epochs.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TENSORS = 3_000
"""Limit of a pool, whose file describes every tensor in a header of at most a megabyte."""

_NAME = re.compile(r"(0|[1-9][0-9]{0,6})\.(0|[1-9][0-9]{0,6})\.([A-Za-z0-9_.-]{1,200})")

Kind = tuple[str, Sequence[int]]
"""Type of the numbers, and shape."""


class Pool(BaseModel):
    """Networks and epochs of a pool.

    Attributes:
        networks: number of networks, which count from 0.
        epochs: after which each network is kept, ascending; 0 has the initial weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    networks: Annotated[int, Field(ge=1)]
    epochs: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


def tensor_name(network: int, epoch: int, name: str) -> str:
    """Return the name in a pool of a network's tensor after an epoch."""
    return f"{network}.{epoch}.{name}"


def check_pool(pool: Pool, tensors: Mapping[str, Kind]) -> None:
    """Check that a pool has the same tensors for every network and epoch, and no others.

    Args:
        pool: the networks and epochs.
        tensors: type and shape of each tensor.

    Raises:
        ValueError: the epochs do not ascend, or a tensor is missing, superfluous or differs between networks.
    """
    if list(pool.epochs) != sorted(set(pool.epochs)):
        raise ValueError("the epochs of a pool must ascend")
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"a pool has at most {MAX_TENSORS:,} tensors")
    found: dict[tuple[int, int], dict[str, tuple[str, tuple[int, ...]]]] = {}
    for text, (dtype, shape) in tensors.items():
        parts = _NAME.fullmatch(text)
        if parts is None:
            raise ValueError(f"a tensor of a pool is named NETWORK.EPOCH.NAME, not {text[:100]!r}")
        found.setdefault((int(parts[1]), int(parts[2])), {})[parts[3]] = (dtype, tuple(shape))
    if len(found) != pool.networks * len(pool.epochs) or not all(
        network < pool.networks and epoch in pool.epochs for network, epoch in found
    ):
        raise ValueError("a pool has tensors for every network and epoch that it names, and for no others")
    first = next(iter(found.values()))
    if any(state != first for state in found.values()):
        raise ValueError("the networks of a pool must have the same tensors")
