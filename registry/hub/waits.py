"""Waits that the Hub asks for: read from its answers, and bounded."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

MAX_SECONDS = 60
"""The longest wait before the client repeats a request by itself; ours."""

_RATE_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")
_MAX_DIGITS = 9


def asked_seconds(headers: Mapping[str, str]) -> int | None:
    """Return the seconds that an answer asks to wait; None if it does not.

    Args:
        headers: of the answer: `Retry-After`, with a number or a date, or `RateLimit`, with nothing left for t seconds.
    """
    limited = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    said = limited[1] if limited else headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdigit():
        return int(said) if len(said) <= _MAX_DIGITS else 10**_MAX_DIGITS
    try:
        return max(1, math.ceil((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()))
    except (ValueError, TypeError, OverflowError):
        return None


def wait_in_words(seconds: int) -> str:
    """Format a wait: "90 s", "12 min", "24 h", "30 days"; rounded up."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds > 2 * size:
            return f"{math.ceil(seconds / size):,} {unit}"
    return f"{seconds} s"


@contextmanager
def bounded_waits() -> Iterator[None]:
    """Let the client raise an error in a block where the Hub asks for a wait of more than `MAX_SECONDS`.

    The client would wait for as long as the answer says before it repeats the request.
    """
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    session.event_hooks = {**hooks, "response": [*hooks.get("response", ()), _refuse_long_wait]}
    try:
        yield
    finally:
        session.event_hooks = hooks


def _refuse_long_wait(response: Any) -> None:
    """Raise the client's error for a refusal that asks for a long wait."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

    if response.status_code >= 400 and (asked_seconds(response.headers) or 0) > MAX_SECONDS:
        response.read()
        hf_raise_for_status(response)
