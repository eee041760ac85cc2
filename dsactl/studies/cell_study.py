"""Studies whose results are cells of a table: they are computed one by one, and each is written as it finishes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dsactl.engine.session import Session
from dsactl.runs.job import Job
from dsactl.studies.cells import Cell, fill
from dsactl.studies.entries import Entry, Key
from dsactl.studies.folder import Folder, rows_of
from dsactl.studies.result import StudyResult
from dsactl.studies.study import keeping_finished_work
from dsactl.text.formatting import many
from dsactl.text.tables import Table


@dataclass(frozen=True)
class CellStudy:
    """A study whose results are cells.

    Attributes:
        names: of the parts of the cells' keys.
        entries: of the cells.
        sets: number of sets per cell.
        folder: for the results.
        draw: makes plots and documents, by file name, from the finished cells, including those of earlier calls.
    """

    names: tuple[str, ...]
    entries: Sequence[Entry]
    sets: int
    folder: Folder
    draw: Callable[[Mapping[Key, Cell]], Mapping[str, bytes]]

    def run(self, session: Session, like: Job | None = None) -> StudyResult:
        """Compute the cells; write the results and plots after each.

        Args:
            session: its meter counts parts, see `cells.parts`, and is told of cells that fail.
            like: a job that may have loaded the dataset.

        Raises:
            registry.StoreError: the store or the folder cannot be written to.
            KeyboardInterrupt: with a note on what is kept.
        """
        cells: dict[Key, Cell] = {}
        self._write(cells)
        with keeping_finished_work(lambda: f"{len(cells)} of {len(self.entries)} cells are done"):
            for entry, cell in fill(self.entries, self.sets, session, like):
                if isinstance(cell, Cell):
                    cells[entry.key] = cell
                    self._write(cells)
                else:
                    session.progress.fail(f"{':'.join(entry.key)}: {cell.message}", cell.hint)
        return self._result(cells)

    def _write(self, cells: Mapping[Key, Cell]) -> None:
        there = self.folder.add(cells, self.names)
        for name, data in (self.draw(there) if there else {}).items():
            self.folder.put(name, data)

    def _result(self, cells: Mapping[Key, Cell]) -> StudyResult:
        """Return the cells of this call, with the paper's results next to ours."""
        path, study = self.folder.path, self.folder.study
        several = any(cell.n > 1 for cell in cells.values())
        remark = f"Mean ± population standard deviation over the networks of {many(self.sets, 'set')} per cell."
        failed = len(self.entries) - len(cells)
        return StudyResult(
            path,
            {"folder": str(path), "cells": rows_of(cells, self.names)},
            (("Test accuracy, %", _matrix(cells, self.names) if len(self.names) == 2 else _list(cells, self.names)),),
            (remark,) if several else (),
            tuple(sorted(file.name for file in path.iterdir() if file.name.startswith(study))),
            f"{failed} of {len(self.entries)} cells" if failed else "",
        )


def in_order(index: int, entries: Iterable[Entry], cells: Iterable[Key]) -> tuple[str, ...]:
    """Return one part of the keys, first of the requested cells, then of cells of earlier calls."""
    return tuple(dict.fromkeys([*(entry.key[index] for entry in entries), *(key[index] for key in cells)]))


def _list(cells: Mapping[Key, Cell], names: tuple[str, ...]) -> Table:
    shown = Table((*names, "accuracy", "n", "paper"), right=("accuracy", "n", "paper"))
    for key, cell in cells.items():
        shown.add(*key, cell.in_words, str(cell.n), cell.paper_in_words)
    return shown


def _matrix(cells: Mapping[Key, Cell], names: tuple[str, ...]) -> Table:
    """Return a table with one row per first part of the keys, and a row of the paper's results below if it has any."""
    columns = in_order(1, (), cells)
    shown = Table((names[0], *columns), right=columns)
    for row in in_order(0, (), cells):
        here = [cells.get((row, column)) for column in columns]
        shown.add(row, *(cell.in_words if cell else "–" for cell in here))
        if any(cell and cell.paper for cell in here):
            shown.add("  paper", *(cell.paper_in_words if cell else "–" for cell in here))
    return shown
