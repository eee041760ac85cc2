"""Read what a process says while it says it, with a limit."""

import os
import select
import time


def read_until(descriptor: int, text: str | None, seconds: float = 120.0) -> str:
    """What comes out of a pipe or terminal, up to some text.

    Args:
        descriptor: to read from.
        text: that must come; None for everything to the end.
        seconds: to wait for it, at most.
    """
    said, end = b"", time.monotonic() + seconds
    while text is None or text.encode() not in said:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no {text!r} in {seconds} s: {said!r}"
        try:
            piece = os.read(descriptor, 4096)
        except OSError:  # a terminal that nobody has open any more
            piece = b""
        if not piece and text is None:
            break
        assert piece, f"no {text!r}: {said!r}"
        said += piece
    return said.decode(errors="replace")
