"""Checks of numbers, words and keywords as the user gives them. Importing this does not import torch."""

import inspect
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from dsactl.errors import UsageError

LAST_SEED = 2**63 - 1
MOST = 10**9
"""The largest count; larger numbers overflow somewhere in torch."""


def check_whole(name: str, value: object, least: int = 1, most: int = MOST) -> None:
    """Refuse a parameter that is no whole number of a range.

    Args:
        name: of the parameter.
        value: that the user gives.
        least, most: the range, both included.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"`{name}` must be a whole number, not {value!r}.")
    if int(value) < least:
        raise UsageError(f"`{name}` must be at least {least}, not {value}.")
    if int(value) > most:
        raise UsageError(f"`{name}` must be at most {most}, not {value}.")


def check_seed(value: object, name: str = "seed") -> None:
    """Refuse a seed that is no whole number from 0 to 2⁶³ − 1.

    Raises:
        UsageError: it is none.
    """
    check_whole(name, value, 0, LAST_SEED)


def check_word(name: str, value: object) -> None:
    """Refuse a parameter that is no text.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise UsageError(f"`{name}` must be a text, not {value!r}.")


def check_real(name: str, value: object) -> None:
    """Refuse a parameter that is no number.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"`{name}` must be a number, not {value!r}.")


def keywords_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters of a function, without that of its `options`."""
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
