"""Folders that an environment variable names, or that lie in the user's home folder."""

import os
from collections.abc import Callable
from pathlib import Path

from registry.errors import StoreError


def named_folder(variable: str, usual: Callable[[], Path]) -> Path:
    """Return the folder that an environment variable names, else the usual one.

    Args:
        variable: name of the environment variable.
        usual: returns the folder in the user's home folder; called only if the variable is not set.

    Raises:
        StoreError: the user has no home folder, as a process without HOME whose user id has no name.
    """
    given = os.environ.get(variable)
    try:
        folder = Path(given).expanduser() if given else usual()
    except (RuntimeError, KeyError, OSError):  # of pathlib, of platformdirs, and of older releases of it
        folder = None
    if folder is None or not (given or folder.is_absolute()):  # older releases of platformdirs return "~/…"
        where = f"{variable} is {given}, and there is no such home folder" if given else "There is no home folder"
        raise StoreError(f"{where}.", f"Set {variable} to the path of a folder.")
    return folder
