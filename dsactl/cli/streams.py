"""Text that any standard stream and terminal can take."""

import codecs
import os
import re
import sys
from io import TextIOWrapper

_REPLACING = "dsactl.replacing"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Control characters without the tab, separators of lines, and what reverses the direction of letters."""


def replace_unencodable() -> None:
    """Let the standard streams replace what their encoding lacks by "?", instead of failing.

    Bytes of file names that are not text are written as they are.
    """
    codecs.register_error(_REPLACING, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=_REPLACING)


def ignore_zero_width() -> None:
    """Let a terminal of no columns or lines, as some programs announce one, have the usual number."""
    for name in ("COLUMNS", "LINES"):
        if os.environ.get(name, "").strip("0 ") == "":
            os.environ.pop(name, None)


def can_encode(text: str) -> bool:
    """Return whether standard output can take a text as it is."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    byte = ord(error.object[error.start]) - 0xDC00  # as "surrogateescape" reads a byte that is no text
    return bytes([byte]) if 0x80 <= byte <= 0xFF else "?", error.start + 1


def printable(text: str) -> str:
    """Return a line of text with control characters as escapes, so that names of files and classes control nothing."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
