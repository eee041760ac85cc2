"""Human-readable numbers, sizes and durations."""

from collections.abc import Mapping
from typing import Any


def many(count: object, what: str, form: str = "") -> str:
    """Format a count with its noun: "1 set", "2 sets", "3 classes".

    Args:
        count: the number.
        what: the noun, in the singular.
        form: format of the number, e.g. "," for a separator of thousands.
    """
    plural = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count:{form}} {what}{plural}"


def duration(seconds: float) -> str:
    """Format a duration in seconds: "4.2 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def to_the_minute(time: str) -> str:
    """Format a time in ISO 8601 without its seconds: "2026-01-31 08:30"."""
    return time[:16].replace("T", " ")


def about(seconds: float) -> str:
    """Format an estimated duration in seconds: "about 3 min 20 s", "under a second"."""
    return f"about {duration(seconds)}" if seconds >= 1 else "under a second"


def bytes_in_words(count: float) -> str:
    """Format a number of bytes: 1,234,567 as "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def in_words(value: Any) -> str:
    """Format a JSON value: "color crop", "arch convnet, depth 3". Keys of an object whose value is None are omitted."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items() if item is not None)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def mean_and_deviation(mean: Any, deviation: Any) -> str:
    """Format "88.7 ± 0.6", or "?" if a value is not a number, as in a file that was edited by hand."""
    if not (isinstance(mean, int | float) and isinstance(deviation, int | float)):
        return "?"
    return f"{mean:.1f} ± {deviation:.1f}"


def accuracy(record: Mapping[str, Any]) -> str:
    """Format the mean and standard deviation of an evaluation's record, or the mean alone if n is 1."""
    mean, n = record.get("mean"), record.get("n")
    if n == 1 and isinstance(mean, int | float):
        return f"{mean:.1f}"
    return mean_and_deviation(mean, record.get("std"))


def protocol_name(record: Mapping[str, Any]) -> str:
    """Return the name of the protocol in an evaluation's record; empty for dsa and dc, which records leave out."""
    protocol = record.get("protocol")
    name = protocol.get("name") if isinstance(protocol, Mapping) else None
    return name if isinstance(name, str) else ""


def augmentation(record: Mapping[str, Any]) -> str:
    """Format the augmentation of an evaluation's record, with the name of its protocol."""
    name = protocol_name(record)
    return f"{record.get('augmentation', '?')}{f', protocol {name}' if name else ''}"
