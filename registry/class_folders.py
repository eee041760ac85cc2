"""Portable folder names for classes of any name."""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH, MAX_BYTES = 100, 200
"""Limits of a folder name, in characters and bytes. File systems allow 255 bytes."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def class_folders(class_names: Sequence[str]) -> list[str]:
    """Return a folder name for each class: the class name if it is portable, else the closest portable name.

    No folder name contains a separator, begins with a dot, ends in a dot or space, is reserved by Windows, or is too
    long for a file system. No two are equal or differ only in case or Unicode composition.

    Args:
        class_names: K names.
    """
    taken: set[str] = set()
    folders = []
    for label, name in enumerate(class_names):
        folder = base = _safe(name)
        attempt = label
        while _folded(folder) in taken:
            folder = f"{base}-{attempt}"
            attempt += 1
        taken.add(_folded(folder))
        folders.append(folder)
    return folders


def _safe(name: str) -> str:
    text = unicodedata.normalize("NFC", name)
    text = "".join(letter if letter.isprintable() else "_" for letter in _FORBIDDEN.sub("_", text))
    text = text.strip(" .")[:MAX_LENGTH].encode()[:MAX_BYTES].decode(errors="ignore").rstrip(" .") or "class"
    return f"_{text}" if _RESERVED.fullmatch(text) else text


def _folded(name: str) -> str:
    """Return a key that is equal for names which some file system treats as the same."""
    return unicodedata.normalize("NFKC", name.casefold()).casefold()
