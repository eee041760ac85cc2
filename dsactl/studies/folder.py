"""The folder of a study's results: JSON with every accuracy, CSV for a spreadsheet, plots; rewritten as cells finish.

It can be removed at any time: everything in it can be derived from the store again.
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

from dsactl.errors import UsageError
from dsactl.studies.cells import Cell
from dsactl.studies.entries import Key
from registry.errors import StoreError
from registry.files import write_atomically
from registry.locks import acquire

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
    """The folder of one study's results.

    Args:
        path: the folder; created if needed.
        study: its name, and that of its files.
        plan: the parameters of the study, as JSON values; a folder of another plan is refused.

    Raises:
        UsageError: the folder has the results of another plan, or cannot be used.
    """

    def __init__(self, path: Path, study: str, plan: Mapping[str, Any]) -> None:
        self.path, self.study, self.plan = path, study, json.loads(json.dumps(plan))
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is not a folder.", "Name another folder with `out`.")
        self._check_plan()

    def _check_plan(self) -> None:
        """Refuse a folder with the results of another plan.

        Raises:
            UsageError: it has such results.
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
                f"{self.path} has the results of another plan (other {other}).", "Name another folder with `out`."
            )

    def cells(self, names: tuple[str, ...]) -> dict[Key, Cell]:
        """Return the cells in the folder, by their keys.

        Args:
            names: of the parts of the keys.

        Raises:
            UsageError: the file was changed by hand.
        """

        def parse(row: Mapping[str, Any]) -> tuple[Key, Cell]:
            return tuple(row[name] for name in names), _from_json(row)

        return dict(self.earlier("cells", parse, "its cells are"))

    def earlier(
        self, part: str, parse: Callable[[Mapping[str, Any]], Written], what: str = "its results are"
    ) -> list[Written]:
        """Return the objects in a part of the study's JSON.

        Args:
            part: its name.
            parse: converts a JSON object.
            what: subject and verb of the hint, for what can be found again.

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
        """Add cells to JSON and CSV; other processes may do so at the same time.

        Args:
            cells: by their keys.
            names: of the parts of the keys.

        Returns:
            All cells in the folder.

        Raises:
            StoreError: the folder cannot be written to.
            UsageError: the file was changed by hand, or another process has started another plan here.
        """
        with self.writing():
            merged = {**self.cells(names), **cells}
            rows = rows_of(merged, names)
            self.put_json({"cells": rows})
            self.put(f"{self.study}.csv", to_csv(rows, (*names, *COLUMNS)).encode())
        return merged

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock, so that results can be read and added to.

        Raises:
            StoreError: the folder cannot be written to.
            UsageError: another process has started another plan here.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = acquire(self.path / ".lock")
        except OSError as error:
            raise StoreError(f"Cannot write to {self.path}: {error.strerror or error}.", _ELSEWHERE) from error
        with lock:
            self._check_plan()
            yield

    def put(self, name: str, data: bytes) -> Path:
        """Write one file atomically.

        Raises:
            StoreError: the folder cannot be written to.
        """
        try:
            write_atomically(self.path / name, data)
        except StoreError as error:
            raise StoreError(error.message, _ELSEWHERE) from error
        return self.path / name


def _is_results(path: Path) -> bool:
    """Return whether a file begins like those of `Folder.put_json`."""
    try:
        with path.open("rb") as file:
            return _BEGINNING.match(file.read(100)) is not None
    except OSError:
        return False


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of values that differ, nested ones as "settings.learn.lr"."""
    for name in {**one, **other}:
        a, b = one.get(name), other.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from (f"{name}.{each}" for each in _differing(a, b))
        elif a != b:
            yield name


def rows_of(cells: Mapping[Key, Cell], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return cells as JSON objects, with the parts of their keys by name."""
    return [{**dict(zip(names, key, strict=True)), **_as_json(cell)} for key, cell in cells.items()]


def _as_json(cell: Cell) -> dict[str, Any]:
    """Return a cell as JSON values, derived ones included."""
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
        raise TypeError("an accuracy is not a number")
    return Cell(**values)


def to_csv(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...]) -> str:
    """Return rows as CSV; None becomes an empty field, and lists are joined by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow([" ".join(value) if isinstance(value, list | tuple) else value for value in values])
    return text.getvalue()
