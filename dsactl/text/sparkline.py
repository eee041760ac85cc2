"""Curves in one line of text."""

from collections.abc import Sequence
from itertools import pairwise

_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw a curve as block characters, from its lowest value to its highest.

    Args:
        values: finite, in order.
        width: number of characters at most; if there are more values, each stands for the mean of several.
    """
    count = min(width, len(values))
    edges = [index * len(values) // count for index in range(count + 1)] if count else []
    means = [sum(values[begin:end]) / (end - begin) for begin, end in pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    if high == low:
        return _LEVELS[0] * count
    return "".join(_LEVELS[round((mean - low) / (high - low) * (len(_LEVELS) - 1))] for mean in means)
