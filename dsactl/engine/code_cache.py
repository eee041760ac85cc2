"""Folders for compiled code: in the user's cache folder or, where that cannot be used, a temporary one."""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs

from registry.notices import notify_once

TORCHS_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that names the folder of code that torch compiles."""


def code_cache(name: str) -> Path:
    """Return a folder for compiled code, which need not exist yet.

    Args:
        name: of the folder, within the one of dsactl.

    Returns:
        A folder in the user's cache folder, or in a temporary one that is removed when this process ends.

    Raises:
        OSError: neither can be written to, and code be loaded from it; the message has the reason for each.
    """
    return (_usual() if problem() is None else _temporary()) / name


@functools.cache
def problem() -> str | None:
    """Return why compiled code cannot be kept in the user's cache folder; None if it can."""
    try:
        return why_unusable(_usual())
    except (RuntimeError, KeyError, OSError):  # as `registry.folders.named_folder`
        return "there is no home folder"


def why_unusable(folder: Path) -> str | None:
    """Return why compiled code cannot be kept in a folder, which is created; None if it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"code")
            file.flush()
        if hasattr(os, "statvfs") and os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
            return f"{folder} is on a file system that is mounted noexec"
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    return None


def leave_unusable_folder() -> None:
    """Leave the folder of compiled code that the environment names (TORCHINDUCTOR_CACHE_DIR), if it cannot be used.

    Parts of torch create it when they are loaded, and fail otherwise.
    """
    given = os.environ.get(TORCHS_FOLDER)
    if given is not None and (reason := why_unusable(Path(given))) is not None:
        del os.environ[TORCHS_FOLDER]
        notify_once(f"{TORCHS_FOLDER} is not used: {reason}.")


def _usual() -> Path:
    folder = Path(platformdirs.user_cache_dir("dsactl", appauthor=False))
    if not folder.is_absolute():  # older releases of platformdirs return "~/…"
        raise RuntimeError
    return folder


@functools.cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dsactl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if (reason := why_unusable(folder)) is not None:
        raise OSError(reason)
    return folder
