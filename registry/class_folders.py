"""Names of classes as names of folders, on any system, whatever the classes are called."""

import re
import unicodedata
from collections.abc import Sequence

LONGEST, LONGEST_BYTES = 100, 200
"""Characters and bytes of a folder's name, of the 255 bytes that file systems take."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def class_folders(class_names: Sequence[str]) -> list[str]:
    """A folder for each class: its name where that can be one, else the nearest thing.

    None has a separator, begins with a dot, ends in a dot or space, is a name that Windows keeps for itself, or is
    longer than a file system takes; no two are equal, or differ in case or composition alone.

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
    text = text.strip(" .")[:LONGEST].encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip(" .") or "class"
    return f"_{text}" if _RESERVED.fullmatch(text) else text


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFKC", name.casefold()).casefold()
