"""Time budgets: how they are given, and which requests can have one. Importing this loads no torch."""

import math
import re
from decimal import ROUND_CEILING, Context, Decimal

from dsactl.errors import UsageError
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Request

_NUMBER = r"\d+(?:\.\d+)?"
_TIME = re.compile(rf"(-?)(?=\d)(?:({_NUMBER})h)? ?(?:({_NUMBER})m)? ?(?:({_NUMBER})s)?", re.ASCII)
_MOST = 365 * 24 * 3600.0
_WAY_OUT = 'Use for example `budget="30m"` or `budget="1h30m"`.'


def parse_budget(given: object) -> float:
    """Return the seconds of a time budget.

    Args:
        given: hours, minutes and seconds as text, "30m", "2h", "90s" or "1h30m"; or a number of seconds.

    Raises:
        UsageError: it is neither, has no unit, is not above 0, or is above a year.
    """
    if isinstance(given, str) and re.fullmatch(_NUMBER, given) and float(given) > 0:
        raise UsageError(f"`budget` must have a unit, not {given!r}.", f'For minutes, use `budget="{given}m"`.')
    seconds = _seconds(given)
    if math.isnan(seconds):
        raise UsageError(f"`budget` must be a time, not {given!r}.", _WAY_OUT)
    if seconds <= 0:
        raise UsageError(f"`budget` must be above 0, not {given!r}.", _WAY_OUT)
    if seconds > _MOST:
        raise UsageError(f"`budget` must be at most a year, not {given!r}.", _WAY_OUT)
    return seconds


def _seconds(given: object) -> float:
    """Return a time in seconds, which may be negative; not a number if it is no time."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(max(-1, min(given, 2 * _MOST)))  # an integer may be too large for a float
    if given in ("0", "-0"):
        return 0.0
    match = _TIME.fullmatch(given.strip().lower()) if isinstance(given, str) else None
    if match is None:
        return math.nan
    sign, *parts = match.groups("0")
    seconds = sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    return -seconds if sign == "-" else seconds


def as_budget(seconds: float) -> str:
    """Return a time as a budget is given, rounded up: "0.67s", "1m30s", "1h30m".

    Below 10 seconds it has two digits; then it is in whole seconds, and from an hour on in whole minutes.
    """
    if seconds < 10:
        return as_exact_budget(float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(seconds))))
    whole = math.ceil(seconds)
    return as_exact_budget(60 * math.ceil(whole / 60) if whole >= 3600 else whole)


def as_exact_budget(seconds: float) -> str:
    """Return a time as a budget is given, with up to ten digits: "10.5s", "1h30m"."""
    minutes, rest = divmod(Decimal(f"{seconds:.10g}"), 60)
    parts = zip((*divmod(minutes, 60), rest), "hms", strict=True)
    return "".join(f"{count.normalize():f}{unit}" for count, unit in parts if count)


def budget_of(request: Request, given: object) -> float:
    """Return the seconds of a request's time budget.

    Args:
        request: parsed.
        given: see `parse_budget`.

    Raises:
        UsageError: it is not valid; the method has no setting that counts its steps; or the request gives that number.
    """
    seconds = parse_budget(given)
    method, name = find(request.method), request.method
    if not method.steps_setting:
        refused = f"`budget` is not for method {name!r}, which"
        if name not in BUILT_IN:
            raise UsageError(
                f"{refused} does not say which of its settings counts its steps.",
                "Name it in its package as `steps_setting`; see docs/methods.md.",
            )
        if method.passes:
            raise UsageError(f"{refused} trains a network on all images.", "Use `epochs` to set for how long.")
        raise UsageError(f"{refused} makes no steps and takes no time.", "Leave it out.")
    if method.steps_setting in request.settings:
        raise UsageError(f"`{method.steps_setting}` and `budget` are both given.", "Leave one of them out.")
    default = request.method_settings().values().get(method.steps_setting)
    if not isinstance(default, int) or default < 1:
        raise UsageError(
            f"The `steps_setting` of method {name!r}, {method.steps_setting!r}, is not a setting with a whole number.",
            "Change it in its package; see docs/methods.md.",
        )
    return seconds
