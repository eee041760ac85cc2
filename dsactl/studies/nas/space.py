"""The search space: 720 ConvNets (Section 4.6), their names, and subsets of them.

depth3-width128-relu-instance-avg       a block: convolution, instance norm, ReLU, average pooling
depth1-width32-sigmoid-nonorm-nopool    no norm, no pooling
"""

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from dsactl.errors import UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec

Choice = int | str

AXES: dict[str, tuple[Choice, ...]] = {
    "depth": (1, 2, 3, 4),
    "width": (32, 64, 128, 256),
    "activation": ("sigmoid", "relu", "leakyrelu"),
    "norm": ("none", "batch", "layer", "instance", "group"),
    "pooling": ("none", "max", "avg"),
}
"""The axes of the paper's search space, and their values."""
_WITHOUT = {"norm": "nonorm", "pooling": "nopool"}
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CLAUSE = re.compile(r"\s*([a-z]+)\s*(<=|>=|!=|<|>|=)\s*([a-z0-9]+(?:\s*\|\s*[a-z0-9]+)*)\s*", re.ASCII)
_HINT = 'For example: `where="depth<=3,norm=instance|group"`'
CHOICES = "; ".join(f"{axis} {', '.join(map(str, values))}" for axis, values in AXES.items())
"""The axes and their values, for messages."""


def space() -> list[NetworkSpec]:
    """Return all 720 networks, the last axis varying fastest."""
    return [NetworkSpec("convnet", **dict(zip(AXES, values, strict=True))) for values in product(*AXES.values())]  # type: ignore[arg-type]


def name_of(network: NetworkSpec) -> str:
    """Return the network's name in the space."""
    return "-".join(_part(axis, getattr(network, axis)) for axis in AXES)


def _part(axis: str, value: Choice) -> str:
    if isinstance(value, int):
        return f"{axis}{value}"
    return _WITHOUT[axis] if value == "none" else value


def where(networks: Iterable[NetworkSpec], text: str) -> list[NetworkSpec]:
    """Return the networks that satisfy every clause.

    Args:
        networks: to choose from.
        text: clauses joined by commas: an axis, one of = != < <= > >=, and a value, or for = and != values joined by |.

    Raises:
        UsageError, UnknownNameError: a clause is invalid; the message names it.
    """
    clauses = [_clause(part) for part in text.split(",")]
    return [network for network in networks if all(holds(network) for holds in clauses)]


def _clause(text: str) -> Callable[[NetworkSpec], bool]:
    parts = _CLAUSE.fullmatch(text)
    if parts is None:
        raise UsageError(f"{text.strip()!r} is not a valid condition.", _HINT)
    axis, sign, values = parts[1], parts[2], [value.strip() for value in parts[3].split("|")]
    if axis not in AXES:
        raise UnknownNameError("axis of the networks", axis, AXES, _HINT)
    known = [str(value) for value in AXES[axis]]
    if sign in _COMPARED:
        if len(values) > 1 or not values[0].isdecimal() or isinstance(AXES[axis][0], str):
            raise UsageError(f"{text.strip()!r}: {sign} takes depth or width and one number.", _HINT)
        compare, limit = _COMPARED[sign], int(values[0])
        return lambda network: compare(getattr(network, axis), limit)
    for value in values:
        if value not in known:
            raise UnknownNameError(axis, value, known)
    return lambda network: (str(getattr(network, axis)) in values) == (sign == "=")


def sample(networks: Sequence[NetworkSpec], count: int, seed: int) -> list[NetworkSpec]:
    """Return `count` networks, drawn without replacement, in their order; all of them, if there are no more.

    A larger sample with the same seed contains a smaller one.
    """
    import torch

    from dsactl.engine.random import generator  # loads torch

    order = torch.randperm(len(networks), generator=generator(seed, "sample of networks")).tolist()
    return [networks[index] for index in sorted(order[:count])]
