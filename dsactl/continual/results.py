"""What is written of continual learning: JSON with every accuracy, CSV, a plot; one entry for each course.

An entry of JSON has the memory, whether there was distillation, the repeat, and after each stage the accuracies of the
tasks so far.
"""

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsactl.continual.scores import forgetting, means
from dsactl.errors import UsageError
from dsactl.paper import tables
from dsactl.studies.folder import Folder
from dsactl.studies.plots import stages

STUDY = "continual"
COLUMNS = ("memory", "distillation", "repeat", "stage", "learned", "tested on", "accuracy")
PAPER_TASKS = ("svhn", "mnist", "usps")


@dataclass(frozen=True)
class Entry:
    """One course and what came of it.

    Attributes:
        memory: the method.
        distilled: whether there was distillation.
        repeat: from 0 on.
        rows, references, seconds: as of `run.Outcome`.
    """

    memory: str
    distilled: bool
    repeat: int
    rows: tuple[tuple[float, ...], ...]
    references: tuple[str, ...]
    seconds: float

    @property
    def key(self) -> tuple[str, bool, int]:
        """What tells it from others of a sequence."""
        return self.memory, self.distilled, self.repeat

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "memory": self.memory,
            "distillation": self.distilled,
            "repeat": self.repeat,
            "accuracies": [list(row) for row in self.rows],
            "means": means(self.rows),
            "forgetting": forgetting(self.rows),
            "references": list(self.references),
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Entry":
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: the values are others.
        """
        rows = tuple(tuple(float(each) for each in row) for row in values["accuracies"])
        if not rows or any(len(row) != stage + 1 for stage, row in enumerate(rows)):
            raise ValueError("accuracies that are no triangle")
        return cls(
            str(values["memory"]),
            bool(values["distillation"]),
            int(values["repeat"]),
            rows,
            tuple(map(str, values["references"])),
            float(values["seconds"]),
        )


@dataclass(frozen=True)
class Line:
    """A memory with or without distillation, over its repeats; percent.

    Attributes:
        memory, distilled: which.
        means: after each stage, the mean over the tasks so far: mean and population standard deviation.
        tasks: after the last stage, the mean accuracy of each task.
        forgetting: after the last stage, mean and deviation; None with one stage.
        n: repeats.
    """

    memory: str
    distilled: bool
    means: tuple[tuple[float, float], ...]
    tasks: tuple[float, ...]
    forgetting: tuple[float, float] | None
    n: int


def lines_of(entries: Iterable[Entry]) -> list[Line]:
    """Lines, in the order in which their first entries come."""
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
                tuple(statistics.fmean(task) for task in last),
                _mean_and_deviation(lost) if lost else None,
                len(several),
            )
        )
    return found


def paper_mean(memory: str, tasks: Sequence[str], ipc: int, *, distilled: bool) -> float | None:
    """The paper's mean accuracy over the three tasks after the last stage; None where it says none."""
    if tuple(tasks) != PAPER_TASKS or ipc != 10 or distilled or memory not in ("dsa", "dc", "herding"):
        return None
    return float(tables()["continual"][memory])


def write(folder: Folder, entries: Iterable[Entry], tasks: Sequence[str]) -> None:
    """Write JSON, CSV and the plot, of these entries and of those that earlier calls wrote.

    Args:
        folder: of the study.
        entries: that are done.
        tasks: their names.

    Raises:
        StoreError: the folder cannot be written to.
        UsageError: the file was changed by hand.
    """
    path = folder.path / f"{STUDY}.json"
    with folder.writing():
        try:
            earlier = (
                [Entry.from_dict(each) for each in json.loads(path.read_bytes())["courses"]] if path.exists() else []
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged ({error!r}).", "Remove it; what is in it is found again.") from None
        every = list({entry.key: entry for entry in (*earlier, *entries)}.values())
        value = {"study": STUDY, "plan": folder.plan, "courses": [entry.to_dict() for entry in every]}
        folder.put(path.name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
        folder.put(f"{STUDY}.csv", to_csv(every, tasks))
        courses = {(each.memory, each.distilled): each.means for each in lines_of(every)}
        title = f"{folder.plan['ipc']} images per class and task in memory"
        if every:
            folder.put(f"{STUDY}.png", stages(courses, tasks, title=title))


def to_csv(entries: Iterable[Entry], tasks: Sequence[str]) -> bytes:
    """One row for each course, stage and task seen."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        way = "on" if entry.distilled else "off"
        for stage, row in enumerate(entry.rows):
            for task, accuracy in zip(tasks, row, strict=False):
                writer.writerow((entry.memory, way, entry.repeat, stage + 1, tasks[stage], task, round(accuracy, 4)))
    return text.getvalue().encode()


def _mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    numbers = list(values)
    return statistics.fmean(numbers), statistics.pstdev(numbers)
