"""Datasets that are not on this machine, which a dry run does not download."""

from collections.abc import Iterable

from dsactl.data.views import base_name
from dsactl.errors import DataError


def check(names: Iterable[str], more: str = "") -> None:
    """Refuse a dry run on datasets that are not on this machine.

    Args:
        names: dataset names, with or without views, or folders.
        more: text to add to the hint.

    Raises:
        DataError: a dataset is missing.
    """
    if absent := missing(names):
        verb = "is" if len(absent) == 1 else "are"
        fetching = f"dsactl condense {base_name(absent[0])} --ipc 1 --method random"
        raise DataError(
            f"{', '.join(absent)} {verb} not on this machine, and --dry-run downloads nothing.",
            f"Commands without it do, such as: {fetching}{'.' if more else ''}{more}",
        )


def missing(names: Iterable[str]) -> list[str]:
    """Return the names of the datasets that are not on this machine."""
    from dsactl.data.catalogue import missing_files

    return [name for name in dict.fromkeys(names) if missing_files(name)]
