"""Findings of the checks."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

State = Literal["ok", "slow", "broken", "not here", "unknown"]
"""ok; works, but slower or less safely than it could; does not work; absent, and not needed; the check failed."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: name of what was checked, such as "threads".
        state: see `State`.
        found: a sentence with what was measured or is set.
        advice: what to do, with the exact command or setting; empty if there is nothing to do.
        figures: the measured numbers by name, each with its unit in the name.
    """

    check: str
    state: State
    found: str
    advice: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values, without figures that are no numbers, which JSON does not have."""
        return {**asdict(self), "figures": {name: value for name, value in self.figures.items() if isfinite(value)}}


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, without a full stop; the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), "").rstrip(".:") or type(error).__name__
