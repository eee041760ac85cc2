"""The tasks that follow each other: data sets of the same classes, or parts of the classes of one data set.

Importing this imports no torch before a data set is loaded.

Where tasks share their classes, so do they the outputs of the network; where each has classes of its own, the network
gets an output for each of them when they come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsactl.data.catalogue import entry_of, missing_files
from dsactl.data.load import check_name, is_folder, load_dataset
from dsactl.data.views import Classes, Shape, Validation, split_name, take, with_views
from dsactl.errors import UsageError

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset


@dataclass(frozen=True)
class Task:
    """A stage of the sequence.

    Attributes:
        name: what it is called in tables.
        dataset: its images, in the shape of the sequence.
        first: the network's output for its first class.
        source: the name by which its data set is loaded, and sets of it are condensed.
        image_size: the same of a folder; None for a named data set.
    """

    name: str
    dataset: "Dataset"
    first: int
    source: str
    image_size: int | None

    @property
    def outputs(self) -> int:
        """How many outputs the network needs for this task and those before it."""
        return self.first + self.dataset.classes


def tasks_of(names: Sequence[str], shape: Shape) -> list[Task]:
    """Tasks that share their classes, one for each data set.

    Args:
        names: of data sets, or folders.
        shape: that the images of all are brought to.

    Raises:
        UsageError: fewer than two; they differ in the number of classes.
        DataError: one is not there.
    """
    counts = check_tasks(names)
    found: dict[str, Task] = {}
    # What would have to be fetched comes last, when all that can be known has been found to agree.
    for name in sorted(names, key=lambda name: bool(missing_files(name))):
        _check_classes(counts)
        source, size = with_views(name, shape), shape.height if is_folder(name) else None
        found[name] = Task(_short(name), load_dataset(source, image_size=size), 0, source, size)
        counts[_short(name)] = found[name].dataset.classes
    _check_classes(counts)
    return [found[name] for name in names]


def check_tasks(names: Sequence[str]) -> dict[str, int]:
    """Refuse what can be seen to be no sequence before a data set is loaded.

    Args:
        names: of data sets, or folders.

    Returns:
        The number of classes of the named ones, by what their tasks are called.

    Raises:
        DsactlError: as of `tasks_of`.
    """
    if len(names) < 2:
        raise UsageError(
            "One task alone is no sequence.", "Name two or more datasets with `tasks`, or split one with `splits`."
        )
    if len({*map(_short, names)}) < len(names):
        raise UsageError("Two tasks have one name.", "Name each data set once, and give folders different names.")
    _check_overlap(names)
    for name in names:
        check_name(name)
    counts = {_short(name): count for name in names if (count := _classes_of(name)) is not None}
    _check_classes(counts)
    return counts


def _short(name: str) -> str:
    """What a task is called: a folder by its own name, without where it lies."""
    base, views = split_name(name)
    return with_views(Path(base).resolve().name if is_folder(name) else base, *views)


def _classes_of(name: str) -> int | None:
    """How many classes a named data set has, without a look at its files; None for a folder."""
    entry = entry_of(name)
    if entry is None:
        return None
    parts = [view for view in split_name(name)[1] if isinstance(view, Classes)]
    return parts[-1].last - parts[-1].first + 1 if parts else entry.classes


def _check_overlap(names: Sequence[str]) -> None:
    """Refuse that one task is tested on images that another learns from.

    Raises:
        UsageError: one of two views of a data set holds training images out, and the other does not.
    """
    held: dict[str, tuple[str, bool]] = {}
    for name in names:
        base, views = split_name(name)
        other, before = held.setdefault(base, (name, Validation() in views))
        if before != (Validation() in views):
            raise UsageError(
                f"One of {other} and {name} is tested on images that the other learns from.",
                f"Use {base}@validation in both, or in neither.",
            )


def _check_classes(counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UsageError(f"The tasks differ in their number of classes: {each}.", "Choose `tasks` with equally many.")


def check_splits(name: str, splits: int) -> None:
    """Refuse, before a data set is loaded, what can be seen not to be shared out; a folder's classes are not known yet.

    Raises:
        DsactlError: as of `splits_of`.
    """
    check_name(name)
    if (classes := _classes_of(name)) is not None:
        _check_splits(name, splits, classes)


def _check_splits(name: str, splits: int, classes: int) -> None:
    if splits < 2 or classes % splits or classes == splits:
        even = [str(n) for n in range(2, classes) if classes % n == 0]
        less = f"Leave a class out: {with_views(name, Classes(0, classes - 2))}" if classes > 4 else "It has too few."
        raise UsageError(
            f"{classes} classes cannot be shared out evenly among {splits} tasks, two at least to each.",
            f"Use {' or '.join(f'`splits={each}`' for each in even)}." if even else less,
        )


def splits_of(name: str, splits: int, shape: Shape | None) -> list[Task]:
    """Tasks of one data set that have classes of their own, equally many, in the order of the classes.

    Args:
        name: of the data set, or folder.
        splits: how many tasks.
        shape: that the images are brought to; None for that of the data set.

    Raises:
        UsageError: the classes cannot be shared out.
        DataError: the data set is not there.
    """
    size = shape.height if shape and is_folder(name) else None
    views = (shape,) if shape else ()
    whole = load_dataset(with_views(name, *views), image_size=size)
    classes = whole.classes
    _check_splits(name, splits, classes)
    each, tasks = classes // splits, []
    for first in range(0, classes, each):
        part = Classes(first, first + each - 1)
        source = with_views(name, *views, part)
        tasks.append(Task(f"classes {part.first}-{part.last}", take(whole, (part,)), first, source, size))
    return tasks
