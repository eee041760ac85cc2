"""The result of a study: values for programs, tables for people, and the folder with the files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsactl.text.tables import Table


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Attributes:
        folder: has the results as JSON, CSV, plots and documents, those of earlier calls included.
        values: JSON values.
        tables: each with its heading.
        remarks: how to read the tables, one sentence each.
        files: names of the main files in the folder.
        failed: what failed, such as "2 of 7 cells"; empty if nothing did.

    Examples:
        >>> import dsactl
        >>> result = dsactl.transfer("digits", archs=["mlp"], iterations=1, networks=1, epochs=1)
        >>> str(result.folder), result.files, result.failed
        ('digits-transfer-dsa-ipc1', ('transfer.csv', 'transfer.json', 'transfer.png'), '')
        >>> print(result)  # doctest: +ELLIPSIS
        Test accuracy, %
        ...
    """

    folder: Path
    values: Mapping[str, Any]
    tables: tuple[tuple[str, Table], ...] = ()
    remarks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    failed: str = ""

    def __str__(self) -> str:
        """Return the tables as text."""
        return "\n\n".join("\n".join([heading, *table.lines(None)]) for heading, table in self.tables)
