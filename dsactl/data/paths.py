"""Tell folders from names of datasets. Importing this loads no torch."""

from pathlib import Path

from dsactl.data.catalogue import entry_of
from dsactl.data.views import base_name
from dsactl.errors import DataError


def is_folder(name: str) -> bool:
    """Return whether a dataset argument means a folder: it has a path separator, or is an unknown name that exists."""
    if "/" in name or "\\" in name or name in (".", ".."):
        return True
    return entry_of(name) is None and any(Path(each).is_dir() for each in (name, base_name(name)))


def check_folder(folder: Path) -> None:
    """Check that a folder exists.

    Raises:
        DataError: it is a file, or does not exist.
    """
    if not expanded(folder).is_dir():
        raise DataError(f"{expanded(folder)} is not a folder.", "Give a folder with one sub-folder per class.")


def expanded(folder: Path) -> Path:
    """Return a path with the home folder for "~"; unchanged, as a shell leaves it, if there is no such home folder."""
    try:
        return folder.expanduser()
    except RuntimeError:
        return folder
