"""Format numbers, sizes and durations for people."""

from collections.abc import Mapping
from typing import Any


def duration(seconds: float) -> str:
    """Seconds in words: "4.2 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def bytes_in_words(count: float) -> str:
    """1,234,567 bytes as "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def in_words(value: Any) -> str:
    """A JSON value for people: "color crop", "arch convnet, depth 3"; what is None is left out of an object."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items() if item is not None)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def mean_and_deviation(mean: Any, deviation: Any) -> str:
    """ "88.7 ± 0.6"; "?" for what are no numbers, as a file changed by hand may hold."""
    if not (isinstance(mean, int | float) and isinstance(deviation, int | float)):
        return "?"
    return f"{mean:.1f} ± {deviation:.1f}"


def accuracy(record: Mapping[str, Any]) -> str:
    """Mean and deviation of an evaluation's record; one network has no deviation."""
    mean, n = record.get("mean"), record.get("n")
    if n == 1 and isinstance(mean, int | float):
        return f"{mean:.1f}"
    return mean_and_deviation(mean, record.get("std"))
