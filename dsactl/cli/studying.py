"""What the commands of the studies share."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsactl.errors import InterruptedRunError

if TYPE_CHECKING:
    from dsactl.studies.folder import Folder


def out_folder(path: Path, study: str, plan: Mapping[str, Any]) -> "Folder":
    """The folder of a study's results, refused before any work where it cannot take them.

    Raises:
        UsageError: it has those of another plan, or is no folder.
        StoreError: it cannot be written to.
    """
    from dsactl.studies.folder import Folder

    folder = Folder(path, study, plan)
    if not (path / f"{study}.json").exists():
        folder.write({}, ())
    return folder


@contextlib.contextmanager
def interrupted(what: str, total: int, done: Callable[[], int]) -> Iterator[None]:
    """Say on Ctrl-C how far a study is.

    Args:
        what: its parts, in the plural.
        total: of them.
        done: gives how many are finished.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; {done()} of {total} {what} are done, and what was made is kept.",
            "The same command goes on from there.",
        ) from None
