"""Signals that end the program: SIGTERM, and SIGHUP, which a terminal or an ssh connection leaves behind."""

import signal
from types import FrameType

_received: list[int] = []


def end_on_signals() -> None:
    """From now on, end on these signals with all cleanup, such as the last checkpoint.

    A signal that is ignored stays ignored, as SIGHUP does under nohup.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def exit_code() -> int | None:
    """Return the exit code for the signal that was received; None if there was none."""
    return 128 + _received[0] if _received else None


def _end(number: int, _frame: FrameType | None) -> None:
    again = bool(_received)
    _received.append(number)
    if again and number != signal.SIGTERM:
        return  # a shell and its terminal both send SIGHUP; the second must not break off the cleanup
    raise SystemExit(exit_code())
