"""The folder of a study's results: JSON with every accuracy, CSV for a spreadsheet, plots; rewritten as cells finish.

It is only an answer: everything in it can be made again from the store, so a folder may be removed at any time.
"""

import contextlib
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from dsactl.errors import UsageError
from dsactl.studies.cells import Cell
from dsactl.studies.entries import Key
from registry.errors import StoreError
from registry.files import write_atomically

COLUMNS = (
    "mean",
    "std",
    "n",
    "paper_mean",
    "paper_std",
    "deviations",
    "epochs",
    "augmentation",
    "making",
    "testing",
    "device",
    "program",
    "made_in",
    "references",
    "remark",
)


Written = TypeVar("Written")
_BEGINNING = re.compile(rb'\s*\{\s*"study"\s*:')
_ELSEWHERE = "Free space, or name another folder with `out`."


class Folder:
    """Where one study's results are written.

    Args:
        path: the folder; made if needed.
        study: its name, which its files are called by.
        plan: what the study is, as JSON: another plan's folder is refused.

    Raises:
        UsageError: the folder has the results of another plan, or cannot be used.
    """

    def __init__(self, path: Path, study: str, plan: Mapping[str, Any]) -> None:
        self.path, self.study, self.plan = path, study, json.loads(json.dumps(plan))
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a folder.", "Name another with `out`.")
        self._check_plan()

    def _check_plan(self) -> None:
        """Refuse a folder that has another plan's results.

        Raises:
            UsageError: it has.
        """
        results = self.path / f"{self.study}.json"
        for file in sorted(self.path.glob("*.json")):
            if file != results and _is_results(file):
                raise UsageError(f"{self.path} has the results of {file.stem}.", "Name another folder with `out`.")
        try:
            found = dict(json.loads(results.read_bytes())["plan"]) if results.exists() else self.plan
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{results} is not a study's results.", "Name another folder with `out`.") from None
        if found != self.plan:
            other = ", ".join(_differing(found, self.plan))
            raise UsageError(
                f"{self.path} has the results of another plan (other {other}).", "Name another with `out`."
            )

    def cells(self, names: tuple[str, ...]) -> dict[Key, Cell]:
        """The cells that were written before, by their keys.

        Args:
            names: of the parts of the keys.

        Raises:
            UsageError: the file was changed by hand.
        """

        def parse(row: Mapping[str, Any]) -> tuple[Key, Cell]:
            return tuple(row[name] for name in names), _from_json(row)

        return dict(self.earlier("cells", parse, "its cells are"))

    def earlier(
        self, part: str, parse: Callable[[Mapping[str, Any]], Written], what: str = "what is in it is"
    ) -> list[Written]:
        """What was written before into a part of the study's JSON.

        Args:
            part: its name.
            parse: makes of each of its objects what it stands for.
            what: can be found again, for the error.

        Raises:
            UsageError: the file was changed by hand.
        """
        results = self.path / f"{self.study}.json"
        try:
            return [parse(each) for each in json.loads(results.read_bytes())[part]] if results.exists() else []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{results} is damaged ({error!r}).", f"Remove it; {what} found again.") from None

    def put_json(self, parts: Mapping[str, Any]) -> None:
        """Write the study's JSON: its name, its plan, and parts of results.

        Raises:
            StoreError: the folder cannot be written to.
        """
        value = {"study": self.study, "plan": self.plan, **parts}
        self.put(f"{self.study}.json", (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def add(self, cells: Mapping[Key, Cell], names: tuple[str, ...]) -> dict[Key, Cell]:
        """Write cells into JSON and CSV beside those that are there, which other processes may add to as well.

        Args:
            cells: by what names them, such as row and column.
            names: of these parts.

        Returns:
            All cells that are there now.

        Raises:
            StoreError: the folder cannot be written to.
            UsageError: the file was changed by hand, or another process has begun another plan here.
        """
        with self.writing():
            merged = {**self.cells(names), **cells}
            rows = rows_of(merged, names)
            self.put_json({"cells": rows})
            self.put(f"{self.study}.csv", to_csv(rows, (*names, *COLUMNS)).encode())
        return merged

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder, so that what is read in it can be added to.

        Raises:
            StoreError: the folder cannot be written to.
            UsageError: another process has begun another plan here.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire()
        except OSError as error:
            raise StoreError(f"Cannot write to {self.path}: {error.strerror or error}.", _ELSEWHERE) from error
        try:
            self._check_plan()
            yield
        finally:
            lock.release()

    def put(self, name: str, data: bytes) -> Path:
        """Write one file, whole or not at all.

        Raises:
            StoreError: the folder cannot be written to.
        """
        try:
            write_atomically(self.path / name, data)
        except StoreError as error:
            raise StoreError(error.message, _ELSEWHERE) from error
        return self.path / name


def _is_results(path: Path) -> bool:
    """Whether a file begins as `Folder.put_json` does."""
    try:
        with path.open("rb") as file:
            return _BEGINNING.match(file.read(100)) is not None
    except OSError:
        return False


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """The names of what differs, to the bottom: "settings.learn.lr"."""
    for name in {**one, **other}:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from (f"{name}.{each}" for each in _differing(a, b))
        elif a != b:
            yield name


def rows_of(cells: Mapping[Key, Cell], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Cells as JSON objects, with the parts of their keys by name."""
    return [{**dict(zip(names, key, strict=True)), **_as_json(cell)} for key, cell in cells.items()]


def _as_json(cell: Cell) -> dict[str, Any]:
    """A cell with what is derived from it."""
    mean, std = cell.paper or (None, None)
    return {
        **asdict(cell),
        "n": cell.n,
        "mean": cell.mean,
        "std": cell.std,
        "paper_mean": mean,
        "paper_std": std,
        "deviations": cell.deviations,
    }


def _from_json(row: Mapping[str, Any]) -> Cell:
    found = {each.name: row[each.name] for each in fields(Cell)}
    values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in found.items()}
    if not values["accuracies"]:
        raise ValueError("no accuracies")
    if not all(isinstance(each, float | int) for each in (*values["accuracies"], *(values["paper"] or ()))):
        raise TypeError("an accuracy that is no number")
    return Cell(**values)


def to_csv(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows as CSV; what is None is empty, and lists are joined by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow([" ".join(value) if isinstance(value, list | tuple) else value for value in values])
    return text.getvalue()
