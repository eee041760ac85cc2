"""The results of continual learning: JSON with every accuracy, CSV, and a plot; one entry for each run.

An entry of the JSON has the memory, whether there was distillation, the repeat, and the accuracies of the tasks so far
after each stage.
"""

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsactl.paper import tables
from dsactl.studies.continual.scores import forgetting, means
from dsactl.studies.folder import Folder
from dsactl.studies.plots import stages
from dsactl.studies.result import StudyResult
from dsactl.text.formatting import accuracy
from dsactl.text.tables import Table

STUDY = "continual"
COLUMNS = ("memory", "distillation", "repeat", "stage", "learned", "tested on", "accuracy")
Score = tuple[float, float]
"""Mean and population standard deviation."""


@dataclass(frozen=True)
class Entry:
    """The results of one run.

    Attributes:
        memory: the method.
        distilled: whether there was distillation.
        repeat: from 0.
        rows, references, seconds: see `run.Outcome`.
        device: description of the device of its last run.
    """

    memory: str
    distilled: bool
    repeat: int
    rows: tuple[tuple[float, ...], ...]
    references: tuple[str, ...]
    seconds: float
    device: str

    @property
    def key(self) -> tuple[str, bool, int]:
        """The key of the run within a sequence."""
        return self.memory, self.distilled, self.repeat

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "memory": self.memory,
            "distillation": self.distilled,
            "repeat": self.repeat,
            "accuracies": [list(row) for row in self.rows],
            "means": means(self.rows),
            "forgetting": forgetting(self.rows),
            "references": list(self.references),
            "seconds": self.seconds,
            "device": self.device,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Entry":
        """Return an entry from the values of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: the values are not those of an entry.
        """
        rows = tuple(tuple(float(each) for each in row) for row in values["accuracies"])
        if not rows or any(len(row) != stage + 1 for stage, row in enumerate(rows)):
            raise ValueError("accuracies are not triangular")
        return cls(
            str(values["memory"]),
            bool(values["distillation"]),
            int(values["repeat"]),
            rows,
            tuple(map(str, values["references"])),
            float(values["seconds"]),
            str(values["device"]),
        )


@dataclass(frozen=True)
class Line:
    """The scores of a memory with or without distillation, over its repeats; percent.

    Attributes:
        memory, distilled: the memory's method, and whether there was distillation.
        means: the mean over the tasks so far, after each stage.
        tasks: accuracy of each task after the last stage.
        forgetting: after the last stage; None with one stage.
        n: number of repeats.
    """

    memory: str
    distilled: bool
    means: tuple[Score, ...]
    tasks: tuple[Score, ...]
    forgetting: Score | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "memory": self.memory,
            "distillation": self.distilled,
            "n": self.n,
            "means": [_named(score) for score in self.means],
            "tasks": [_named(score) for score in self.tasks],
            "forgetting": None if self.forgetting is None else _named(self.forgetting),
        }


def in_order(entries: Iterable[Entry], memories: Sequence[str]) -> list[Entry]:
    """Sort entries by memory, then without distillation before with it, then by repeat.

    Args:
        entries: in any order.
        memories: their order; others come after them.
    """
    every = list(entries)
    order = list(dict.fromkeys([*memories, *(entry.memory for entry in every)]))
    return sorted(every, key=lambda entry: (order.index(entry.memory), entry.distilled, entry.repeat))


def memories_of(folder: Folder) -> list[str]:
    """Return the memories of a folder's entries, in their order."""
    return list(dict.fromkeys(entry.memory for entry in folder.earlier("courses", Entry.from_dict)))


def lines_of(entries: Iterable[Entry]) -> list[Line]:
    """Return the lines of entries, in the order of their first entries."""
    grouped: dict[tuple[str, bool], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.memory, entry.distilled), []).append(entry)
    found = []
    for (memory, distilled), several in grouped.items():
        stages = zip(*(means(entry.rows) for entry in several), strict=True)
        last = zip(*(entry.rows[-1] for entry in several), strict=True)
        lost = [value for entry in several if (value := forgetting(entry.rows)[-1]) is not None]
        found.append(
            Line(
                memory,
                distilled,
                tuple(map(_mean_and_deviation, stages)),
                tuple(map(_mean_and_deviation, last)),
                _mean_and_deviation(lost) if lost else None,
                len(several),
            )
        )
    return found


def paper_mean(line: Line) -> float | None:
    """Return the paper's mean accuracy over its three tasks after the last stage; None if it states none."""
    if line.distilled or line.memory not in ("dsa", "dc", "herding"):
        return None
    return float(tables()["continual"][line.memory])


def write(
    folder: Folder,
    entries: Iterable[Entry],
    tasks: Sequence[str],
    memories: Sequence[str],
    title: str,
    *,
    is_papers: bool,
) -> None:
    """Write JSON, CSV and the plot of these entries and those of earlier calls.

    Args:
        folder: of the study.
        entries: the finished ones, at least one.
        tasks: their names.
        memories: see `in_order`.
        title: of the plot.
        is_papers: whether the study is the paper's, so that its results are shown.

    Raises:
        StoreError: the folder cannot be written to.
        UsageError: the file was changed by hand.
    """
    with folder.writing():
        known = {entry.key: entry for entry in folder.earlier("courses", Entry.from_dict)}
        known |= {entry.key: entry for entry in entries}
        every = in_order(known.values(), memories)
        lines = lines_of(every)
        described = [{**line.to_dict(), "paper": paper_mean(line) if is_papers else None} for line in lines]
        folder.put_json({"lines": described, "courses": [entry.to_dict() for entry in every]})
        folder.put(f"{STUDY}.csv", to_csv(every, tasks))
        runs = {(each.memory, each.distilled): each.means for each in lines}
        papers = {line.memory: paper for line in lines if is_papers and (paper := paper_mean(line)) is not None}
        folder.put(f"{STUDY}.png", stages(runs, tasks, title=title, papers=papers))


def result_of(
    folder: Folder, entries: Sequence[Entry], tasks: Sequence[str], repeats: int, *, is_papers: bool
) -> StudyResult:
    """Return the results of these entries, with the paper's next to ours.

    Args:
        folder: of the study.
        entries: the finished ones, in order.
        tasks: their names.
        repeats: number of repeats.
        is_papers: whether the study is the paper's, so that its results are shown.
    """
    lines = lines_of(entries)
    papers = [paper_mean(line) if is_papers else None for line in lines]
    numbers = (*tasks, "forgetting", "n", *(("paper",) if is_papers else ()))
    after_each = Table(("memory", "distillation", *numbers), right=numbers)
    last = Table(("memory", "distillation", *tasks), right=tasks)
    for line, paper in zip(lines, papers, strict=True):
        way = "on" if line.distilled else "off"
        lost = _in_words(line.forgetting, line.n) if line.forgetting else "–"
        theirs = ("–" if paper is None else f"{paper:.1f}",) if is_papers else ()
        means = (_in_words(each, line.n) for each in line.means)
        after_each.add(line.memory, way, *means, lost, str(line.n), *theirs)
        last.add(line.memory, way, *(_in_words(each, line.n) for each in line.tasks))
    values = {
        "folder": str(folder.path),
        "lines": [{**line.to_dict(), "paper": paper} for line, paper in zip(lines, papers, strict=True)],
        "courses": [entry.to_dict() for entry in entries],
    }
    tables = (
        ("Mean test accuracy over the tasks so far, after each task, %", after_each),
        ("Final test accuracy per task, %", last),
    )
    if not lines:
        return StudyResult(folder.path, values)
    remarks = (
        "Mean ± population standard deviation over the repeats." if repeats > 1 else "",
        "Forgetting: mean over the earlier tasks of the best minus the final accuracy.",
    )
    files = tuple(f"{STUDY}.{ending}" for ending in ("csv", "json", "png"))
    return StudyResult(folder.path, values, tables, tuple(filter(None, remarks)), files)


def _in_words(score: Score, n: int) -> str:
    return accuracy({"mean": score[0], "std": score[1], "n": n})


def to_csv(entries: Iterable[Entry], tasks: Sequence[str]) -> bytes:
    """Return CSV with one row for each run, stage and task seen."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        way = "on" if entry.distilled else "off"
        for stage, row in enumerate(entry.rows):
            for task, reached in zip(tasks, row, strict=False):
                writer.writerow((entry.memory, way, entry.repeat, stage + 1, tasks[stage], task, round(reached, 4)))
    return text.getvalue().encode()


def _mean_and_deviation(values: Iterable[float]) -> Score:
    numbers = list(values)
    return statistics.fmean(numbers), statistics.pstdev(numbers)


def _named(score: Score) -> dict[str, float]:
    return {"mean": score[0], "std": score[1]}
