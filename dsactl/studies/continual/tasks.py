"""The sequence of tasks: datasets with the same classes, or parts of the classes of one dataset.

Importing this loads no torch before a dataset is loaded.

Tasks with the same classes share the outputs of the network; if each task has its own classes, the network gets new
outputs with every task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsactl.data.catalogue import entry_of, missing_files
from dsactl.data.load import check_name, load_dataset
from dsactl.data.paths import is_folder
from dsactl.data.views import Classes, Shape, Validation, split_name, take, with_views
from dsactl.engine.arguments import check_word
from dsactl.errors import UsageError

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset


@dataclass(frozen=True)
class Task:
    """One task of the sequence.

    Attributes:
        name: its name in tables.
        dataset: its images, in the shape of the sequence.
        first: index of the network's output for its first class.
        source: the name by which its dataset is loaded and condensed.
        image_size: of an image folder; None for a named dataset.
    """

    name: str
    dataset: "Dataset"
    first: int
    source: str
    image_size: int | None

    @property
    def outputs(self) -> int:
        """The number of outputs that the network needs for this task and the earlier ones."""
        return self.first + self.dataset.classes


def tasks_of(names: Sequence[str], shape: Shape) -> list[Task]:
    """Load tasks that share their classes, one for each dataset.

    Args:
        names: of datasets, or folders.
        shape: to which all images are resized.

    Raises:
        UsageError: there are fewer than two; they differ in the number of classes.
        DataError: one is missing.
    """
    counts = check_tasks(names)
    found: dict[str, Task] = {}
    # Datasets that must be downloaded come last, after all other checks.
    for name in sorted(names, key=lambda name: bool(missing_files(name))):
        _check_classes(counts)
        source, size = with_views(name, shape), shape.height if is_folder(name) else None
        found[name] = Task(_short(name), load_dataset(source, image_size=size), 0, source, size)
        counts[_short(name)] = found[name].dataset.classes
    _check_classes(counts)
    return [found[name] for name in names]


def check_tasks(names: Sequence[str]) -> dict[str, int]:
    """Refuse what is not a sequence of tasks, as far as that is known before a dataset is loaded.

    Args:
        names: of datasets, or folders.

    Returns:
        The number of classes of the named datasets, by their tasks' names.

    Raises:
        DsactlError: see `tasks_of`.
    """
    for name in names:
        check_word("tasks", name)
    if len(names) < 2:
        raise UsageError(
            "A sequence needs two or more tasks.",
            "Name two or more datasets with `tasks`, or split one with `splits`.",
        )
    if len({*map(_short, names)}) < len(names):
        raise UsageError("Two tasks have the same name.", "Name each dataset once, and give folders different names.")
    _check_overlap(names)
    for name in names:
        check_name(name)
    counts = {_short(name): count for name in names if (count := _classes_of(name)) is not None}
    _check_classes(counts)
    return counts


def _short(name: str) -> str:
    """Return the name of a task: for a folder, only the last part of its path."""
    base, views = split_name(name)
    return with_views(Path(base).resolve().name if is_folder(name) else base, *views)


def _classes_of(name: str) -> int | None:
    """Return the number of classes of a named dataset, without reading its files; None for a folder."""
    entry = entry_of(name)
    if entry is None:
        return None
    parts = [view for view in split_name(name)[1] if isinstance(view, Classes)]
    return parts[-1].last - parts[-1].first + 1 if parts else entry.classes


def _check_overlap(names: Sequence[str]) -> None:
    """Refuse tasks of which one is tested on images that another is trained on.

    Raises:
        UsageError: one of two views of a dataset holds training images out, and the other does not.
    """
    held: dict[str, tuple[str, bool]] = {}
    for name in names:
        base, views = split_name(name)
        other, before = held.setdefault(base, (name, Validation() in views))
        if before != (Validation() in views):
            raise UsageError(
                f"One of {other} and {name} is tested on images that the other is trained on.",
                f"Use {base}@validation in both, or in neither.",
            )


def _check_classes(counts: Mapping[str, int]) -> None:
    if len(set(counts.values())) > 1:
        each = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UsageError(
            f"The tasks differ in their number of classes: {each}.", "Choose `tasks` with the same number."
        )


def check_splits(name: str, splits: int) -> None:
    """Refuse a dataset that cannot be split, before it is loaded; the classes of a folder are not known yet.

    Raises:
        DsactlError: see `splits_of`.
    """
    check_name(name)
    if (classes := _classes_of(name)) is not None:
        _check_splits(name, splits, classes)


def _check_splits(name: str, splits: int, classes: int) -> None:
    if splits < 2 or classes % splits or classes == splits:
        even = [str(n) for n in range(2, classes) if classes % n == 0]
        fewer = f"Leave a class out: {with_views(name, Classes(0, classes - 2))}" if classes > 4 else "It has too few."
        raise UsageError(
            f"{classes} classes cannot be split evenly into {splits} tasks of at least two classes.",
            f"Use {' or '.join(f'`splits={each}`' for each in even)}." if even else fewer,
        )


def splits_of(name: str, splits: int, shape: Shape | None) -> list[Task]:
    """Split a dataset into tasks with equally many classes each, in the order of the classes.

    Args:
        name: of the dataset, or folder.
        splits: number of tasks.
        shape: to which the images are resized; None for that of the dataset.

    Raises:
        UsageError: the classes cannot be split evenly.
        DataError: the dataset is missing.
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
