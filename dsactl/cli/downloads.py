"""Data sets that are not on this machine: a dry run does not download them."""

from collections.abc import Iterable

from dsactl.errors import DataError


def check(names: Iterable[str], more: str = "") -> None:
    """Refuse a dry run on data sets that would have to be downloaded first.

    Args:
        names: of data sets, with views or without, or folders.
        more: added to the hint.

    Raises:
        DataError: some are not here.
    """
    if absent := missing(names):
        verb = "is" if len(absent) == 1 else "are"
        raise DataError(
            f"{', '.join(absent)} {verb} not on this machine, and --dry-run downloads nothing.",
            f"See what is here: dsactl datasets{more}",
        )


def missing(names: Iterable[str]) -> list[str]:
    """Which of them are not here."""
    from dsactl.data.catalogue import missing_files

    return [name for name in dict.fromkeys(names) if missing_files(name)]
