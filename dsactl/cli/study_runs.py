"""Shared parts of the experiment commands: run the cells, write each result, print the table."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from dsactl.cli import downloads
from dsactl.text.formatting import duration
from dsactl.cli.output import Output
from dsactl.text.tables import Table
from dsactl.errors import InterruptedRunError, RunError, UnknownNameError, UsageError
from dsactl.recipes.recipe import Request

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset
    from dsactl.evaluation.protocol import Protocol
    from dsactl.runs.job import Job
    from dsactl.studies.cells import Cell, Steps
    from dsactl.studies.costs import Cost
    from dsactl.studies.entries import Entry, Key
    from dsactl.studies.folder import Folder


def plan_of(request: Request, sets: int, protocol: "Protocol", dataset: "Dataset") -> dict[str, Any]:
    """Return the settings that identify a study, independent of the requested cells."""
    return {
        "dataset": dataset.name,
        "images": dataset.checksums,
        "ipc": request.ipc,
        "method": request.method,
        "arch": request.arch,
        "seed": request.seed,
        "iterations": request.settings.get("iterations"),
        "image_size": request.image_size,
        "sets": sets,
        "networks": protocol.networks,
        "epochs": protocol.epochs,
    }


def per_class(request: Request) -> str:
    """Format the images per class for titles: "1 image per class"."""
    return f"{many(request.ipc, 'image')} per class"


def run(
    entries: Sequence["Entry"],
    names: tuple[str, ...],
    folder: "Folder",
    sets: int,
    device: str,
    output: Output,
    draw: Callable[[Mapping["Key", "Cell"]], Mapping[str, bytes]],
    like: "Job | None" = None,
    *,
    ray: str,
    gpu_share: float,
) -> dict["Key", "Cell"]:
    """Compute the cells. After each, write the results and plots, including the cells of earlier calls.

    Args:
        entries: entries of the cells.
        names: names of the parts of their keys.
        folder: results folder.
        sets: number of sets per request.
        device: a device name as `condense` takes it.
        output: destination of the progress.
        draw: function from the finished cells to plots and documents by file name.
        like: a job that may have loaded the dataset.
        ray, gpu_share: where sets are made and networks trained, as `on_ray.workers` takes them.

    Raises:
        InterruptedRunError: on Ctrl-C; the message states the progress.
    """
    import registry
    from dsactl.engine.on_ray import open_executor
    from dsactl.studies.cells import Cell, fill, parts

    cells: dict[Key, Cell] = {}

    def write() -> None:
        there = folder.add(cells, names)
        for name, data in (draw(there) if there else {}).items():
            folder.put(name, data)

    write()
    try:
        with (
            contextlib.closing(open_executor(ray, device, gpu_share)) as who,
            output.progress(folder.study, parts(entries), "parts") as bar,
        ):

            def report(done: float, total: int, doing: str) -> None:
                bar.update(done, doing, total=total)

            for entry, cell in fill(entries, sets, registry.Store(), device, report, like, who):
                if isinstance(cell, Cell):
                    cells[entry.key] = cell
                    write()
                else:
                    output.error(f"{':'.join(entry.key)}: {cell.message}", cell.hint)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; {len(cells)} of {len(entries)} cells are done, and all finished work is kept.",
            "The same command continues from there.",
        ) from None
    return cells


@contextlib.contextmanager
def steps(title: str, output: Output) -> Iterator["Steps"]:
    """Show a bar for the steps of one set; yields the progress callback that studies take."""
    with output.progress(title, 1, "steps") as bar:

        def report(done: float, total: int, doing: str) -> None:
            bar.update(done, doing, total=total)

        yield report


@contextlib.contextmanager
def explained_interrupt() -> Iterator[None]:
    """Turn Ctrl-C into a message that finished work is kept.

    Raises:
        InterruptedRunError: on Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "Interrupted; all finished work is kept.", "The same command continues from there."
        ) from None


def answer(
    cells: Mapping["Key", "Cell"],
    wanted: int,
    names: tuple[str, ...],
    folder: "Folder",
    sets: int,
    output: Output,
) -> None:
    """Print the table with the paper's results next to ours, and the paths of the files.

    Args:
        cells: the finished cells.
        wanted: number of requested cells.
        names: names of the parts of their keys.
        folder: results folder.
        sets: number of sets per cell.
        output: printer.

    Raises:
        RunError: some cells failed.
    """
    from dsactl.studies.folder import rows_of

    shown = _matrix(cells, names) if len(names) == 2 else _list(cells, names)
    value = {"folder": str(folder.path), "cells": rows_of(cells, names)}
    output.answer(value, [str(folder.path)], ["Test accuracy, %", shown])
    if any(cell.n > 1 for cell in cells.values()):
        output.remark(f"Mean ± population standard deviation over the networks of {many(sets, 'set')} per cell.")
    files = ", ".join(sorted(path.name for path in folder.path.iterdir() if path.name.startswith(folder.study)))
    output.note(f"Written to {escape(str(folder.path))}: {escape(files)}")
    if len(cells) < wanted:
        raise RunError(f"{wanted - len(cells)} of {wanted} cells failed (see above).", "The same command retries them.")


def in_order(index: int, entries: Iterable["Entry"], cells: Iterable["Key"]) -> tuple[str, ...]:
    """Return one part of the keys, first of the requested cells, then of cells of earlier calls."""
    return tuple(dict.fromkeys([*(entry.key[index] for entry in entries), *(key[index] for key in cells)]))


def _list(cells: Mapping["Key", "Cell"], names: tuple[str, ...]) -> Table:
    shown = Table((*names, "accuracy", "n", "paper"), right=("accuracy", "n", "paper"))
    for key, cell in cells.items():
        shown.add(*key, cell.in_words, str(cell.n), cell.paper_in_words)
    return shown


def _matrix(cells: Mapping["Key", "Cell"], names: tuple[str, ...]) -> Table:
    """Return a table with one row per first part of the keys, and a row of the paper's results below if it has any."""
    columns = in_order(1, (), cells)
    shown = Table((names[0], *columns), right=columns)
    for row in in_order(0, (), cells):
        here = [cells.get((row, column)) for column in columns]
        shown.add(row, *(cell.in_words if cell else "–" for cell in here))
        if any(cell and cell.paper for cell in here):
            shown.add("  paper", *(cell.paper_in_words if cell else "–" for cell in here))
    return shown


def dry_run(
    entries: Sequence["Entry"],
    sets: int,
    device: str,
    output: Output,
    *,
    tested: bool = True,
) -> None:
    """Print the sets to make, the networks to train and the estimated time on this machine; nothing is written.

    Cells of a dataset that is not on this machine are listed, but not counted.

    Args:
        entries: entries of the cells.
        sets: number of sets per request.
        device: a device name as `condense` takes it.
        output: printer.
        tested: whether networks are trained and tested on the sets.
    """
    import registry
    from dsactl.engine.device import describe
    from dsactl.engine.memory import keep_freed_memory
    from dsactl.studies.cells import check
    from dsactl.studies.costs import estimate

    keep_freed_memory()
    cells = [":".join(entry.key) for entry in entries]
    away = downloads.missing(entry.request.dataset for entry in entries)
    if not (here := [entry for entry in entries if entry.request.dataset not in away]):
        downloads.check(away)
    entries = here
    jobs = check(entries, device)
    with output.progress("timing steps", len(entries), "trials") as bar:

        def report(done: int, total: int) -> None:
            bar.update(done, "", total=total)

        cost = estimate(entries, jobs, sets, registry.Store(), report, tested=tested)
    lines = [
        f"{many(len(cells), 'cell')}: {', '.join(cells)}",
        sets_in_words(cost),
        f"{many(cost.networks, 'network')} would be trained and tested: about {duration(cost.testing)}.",
        f"Total: about {duration(cost.making + cost.testing)} on {describe(jobs[0].device)}.",
    ]
    if not tested:
        lines[2:] = ["No network would be trained and tested on them."]
    output.answer({"cells": cells, "absent": away, **asdict(cost)}, cells, lines)
    if away:
        output.remark(f"Not on this machine, and not counted: {', '.join(away)}.")
    remark_on_unknown(cost, output)
    output.remark(
        "Estimated from a few uncompiled steps; long runs are compiled and faster. Networks with cached results are "
        "counted, but are not trained again."
    )


def many(count: int, what: str) -> str:
    """Format a count with its noun: "1 set", "2 sets"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def remark_on_unknown(cost: "Cost", output: Output) -> None:
    """Print a remark on the methods whose time is not known, if there are any."""
    if cost.unknown:
        output.remark(f"The time of {' and '.join(cost.unknown)} is unknown and not counted.")


def sets_in_words(cost: "Cost") -> str:
    """Format the number of sets to make and the estimated time."""
    there = f" ({cost.made} already stored)" if cost.made else ""
    operations = f"{cost.operations:.2g} operations of Algorithm 1, " if cost.operations else ""
    return f"{many(cost.sets, 'set')} would be made{there}: {operations}about {duration(cost.making)}."


def words(text: str, what: str, known: Sequence[str]) -> tuple[str, ...]:
    """Parse comma-separated names from a catalogue, without repetitions.

    Raises:
        UnknownNameError: an unknown name.
        UsageError: the list is empty.
    """
    names = listed(text, what)
    for name in names:
        if name not in known:
            raise UnknownNameError(what, name, known, "Custom methods: docs/methods.md" if what == "method" else "")
    return names


def listed(text: str, what: str) -> tuple[str, ...]:
    """Parse a comma-separated list, without repetitions.

    Raises:
        UsageError: the list is empty.
    """
    return tuple(dict.fromkeys(all_listed(text, what)))


def all_listed(text: str, what: str) -> tuple[str, ...]:
    """Parse a comma-separated list, with repetitions.

    Raises:
        UsageError: the list is empty.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"No {what} was given.", "Separate several names by commas.")
    return names
