"""Datasets that are not on this machine: a dry run does not download them, and other commands say that they do."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dsactl.errors import DataError

if TYPE_CHECKING:
    from dsactl.cli.output import Output


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
        raise DataError(
            f"{', '.join(absent)} {verb} not on this machine, and --dry-run downloads nothing.",
            f"List the datasets: dsactl datasets{more}",
        )


def announce(name: str, output: "Output") -> None:
    """Say that a dataset is downloaded, if it is not on this machine."""
    from dsactl.data.catalogue import data_root, entry_of

    entry = entry_of(name)
    if entry is not None and missing([name]):
        output.remark(f"Downloading {entry.title} to {data_root()}.")


def missing(names: Iterable[str]) -> list[str]:
    """Return the names of the datasets that are not on this machine."""
    from dsactl.data.catalogue import missing_files

    return [name for name in dict.fromkeys(names) if missing_files(name)]
