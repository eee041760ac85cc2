"""Tell folders from names of datasets. Importing this loads no torch."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsactl.data.catalogue import entry_of
from dsactl.data.views import base_name
from dsactl.errors import DataError

_FOLDER_OPTIONS = {"image_size": int, "test_fraction": float, "split_seed": int}


def is_folder(name: str) -> bool:
    """Return whether a dataset argument means a folder: it has a path separator, or is an unknown name that exists."""
    if "/" in name or "\\" in name or name in (".", ".."):
        return True
    return entry_of(name) is None and any(Path(each).is_dir() for each in (name, base_name(name)))


def expand(name: str) -> Path:
    """Return a folder's path, with "~" replaced.

    Raises:
        DataError: there is no such user, or the user has no home folder.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise DataError(f"{name}: there is no home folder for this ~.", "Give the path without ~.") from None


def absolute(name: str) -> str:
    """Return the absolute path of a folder, with its views, and without ".." where the folder is the same.

    The parent of a link's target is not that of the link.

    Raises:
        DataError: see `expand`.
    """
    base = base_name(name)
    path = expand(base).absolute()
    tidy = Path(os.path.normpath(path))
    with contextlib.suppress(OSError):  # it does not exist, which is found later
        path = tidy if tidy.samefile(path) else path
    return f"{path}{name[len(base) :]}"


def check_folder(folder: Path) -> None:
    """Check that a folder exists.

    Raises:
        DataError: it is a file, or does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "Give a folder with one sub-folder of images per class.")


def folder_options(known: Mapping[str, Any]) -> dict[str, Any]:
    """Extract the options that an image folder was read with from a set's provenance or a run's source."""
    return {name: known[name] for name, kind in _FOLDER_OPTIONS.items() if type(known.get(name)) is kind}
