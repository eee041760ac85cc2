"""What the commands of the studies share: run the cells, write them as they come, print the table."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dsactl.cli import downloads, options
from dsactl.cli.formatting import duration
from dsactl.cli.output import Output
from dsactl.cli.tables import Table
from dsactl.errors import InterruptedRunError, RunError, UnknownNameError, UsageError
from dsactl.recipes.recipe import Request
from dsactl.runs.request_check import check_request

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset
    from dsactl.evaluation.protocol import Protocol
    from dsactl.runs.job import Job
    from dsactl.studies.cells import Cell, Steps
    from dsactl.studies.costs import Cost
    from dsactl.studies.entries import Entry, Key
    from dsactl.studies.folder import Folder

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET", help="A name (see: dsactl datasets) or a folder.", autocompletion=options.complete_dataset
    ),
]
Sets = Annotated[int, typer.Option(min=1, help="Sets per cell, with derived seeds; the paper has 5.")]
Networks = Annotated[int, typer.Option(min=1, help="Networks per set and cell; the paper has 20.")]
Iterations = Annotated[int | None, typer.Option(help="Outer iterations K.  \\[1000]")]
Epochs = Annotated[int | None, typer.Option(help="Of the networks that are tested.  \\[1000 or 300]")]
Seed = Annotated[int, typer.Option(min=0, help="The root of every draw.")]
ImageSize = Annotated[int | None, typer.Option(help="For a folder, as with condense.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the results.  \\[named for the study, here]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made and what it costs; do nothing.")]


def request_of(dataset: str, ipc: int, **given: Any) -> Request:
    """What a study makes, from options of which None stands for the default.

    Raises:
        DsactlError: one makes no sense, or there is no such data set.
    """
    known = {name: value for name, value in given.items() if value is not None}
    request = Request.parse({"dataset": dataset, "ipc": ipc, **known})
    check_request(request)
    return request


def plan_of(request: Request, sets: int, protocol: "Protocol", dataset: "Dataset") -> dict[str, Any]:
    """What makes two studies the same, whatever part of it is asked for."""
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
    """ "1 image per class", for titles."""
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
    """Fill the cells, and write them and the plots after each, with the cells of earlier calls.

    Args:
        entries: of the cells.
        names: of the parts of their keys.
        folder: for the results.
        sets: per request.
        device: as of `condense`.
        output: for the progress.
        draw: makes plots and documents of the cells that are there, by file name.
        like: a job that may have the data set already.
        ray, gpu_share: who makes the sets and trains the networks that are tested, as of `on_ray.workers`.

    Raises:
        InterruptedRunError: on Ctrl-C, with how far it is.
    """
    import registry
    from dsactl.engine.on_ray import workers
    from dsactl.studies.cells import Cell, fill, parts

    cells: dict[Key, Cell] = {}

    def write() -> None:
        there = folder.add(cells, names)
        for name, data in (draw(there) if there else {}).items():
            folder.put(name, data)

    write()
    try:
        with (
            contextlib.closing(workers(ray, device, gpu_share)) as who,
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
            f"Interrupted; {len(cells)} of {len(entries)} cells are done, and what was made is kept.",
            "The same command goes on from there.",
        ) from None
    return cells


@contextlib.contextmanager
def steps(title: str, output: Output) -> Iterator["Steps"]:
    """A bar for the steps of one set, as the report that studies take."""
    with output.progress(title, 1, "steps") as bar:

        def report(done: float, total: int, doing: str) -> None:
            bar.update(done, doing, total=total)

        yield report


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Say on Ctrl-C that what was made is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "Interrupted; what was made is kept.", "The same command goes on from there."
        ) from None


def answer(
    cells: Mapping["Key", "Cell"],
    wanted: int,
    names: tuple[str, ...],
    folder: "Folder",
    sets: int,
    output: Output,
) -> None:
    """Print the table, with the paper's figures beside ours, and where the files are.

    Args:
        cells: that are done.
        wanted: how many were to be.
        names: of the parts of their keys.
        folder: with the files.
        sets: per cell.
        output: where to print.

    Raises:
        RunError: some cells failed.
    """
    from dsactl.studies.folder import rows_of

    shown = _matrix(cells, names) if len(names) == 2 else _list(cells, names)
    value = {"folder": str(folder.path), "cells": rows_of(cells, names)}
    output.answer(value, [str(folder.path)], ["Test accuracy, %", shown])
    if any(cell.n > 1 for cell in cells.values()):
        output.remark(f"Mean ± population standard deviation over the networks of {many(sets, 'set')} for each cell.")
    files = ", ".join(sorted(path.name for path in folder.path.iterdir() if path.name.startswith(folder.study)))
    output.note(f"In {escape(str(folder.path))}: {escape(files)}")
    if len(cells) < wanted:
        raise RunError(
            f"{wanted - len(cells)} of {wanted} cells failed, as said above.", "The same command tries them again."
        )


def in_order(index: int, entries: Iterable["Entry"], cells: Iterable["Key"]) -> tuple[str, ...]:
    """One part of the keys of cells that are asked for, and then of those of earlier calls."""
    return tuple(dict.fromkeys([*(entry.key[index] for entry in entries), *(key[index] for key in cells)]))


def _list(cells: Mapping["Key", "Cell"], names: tuple[str, ...]) -> Table:
    shown = Table((*names, "accuracy", "n", "paper"), right=("accuracy", "n", "paper"))
    for key, cell in cells.items():
        shown.add(*key, cell.in_words, str(cell.n), cell.paper_in_words)
    return shown


def _matrix(cells: Mapping["Key", "Cell"], names: tuple[str, ...]) -> Table:
    """A row for each first part of the keys, and below it the paper's where it has any."""
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
    """Say what would be made, measured and computed, and how long it would take here; nothing is written.

    Cells of a data set that would have to be downloaded first are named, but not counted.

    Args:
        entries: of the cells.
        sets: of each request.
        device: as of `condense`.
        output: where to print.
        tested: whether networks are trained on the sets.
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
    with output.progress("trying steps", len(entries), "trials") as bar:

        def report(done: int, total: int) -> None:
            bar.update(done, "", total=total)

        cost = estimate(entries, jobs, sets, registry.Store(), report, tested=tested)
    lines = [
        f"{many(len(cells), 'cell')}: {', '.join(cells)}",
        sets_in_words(cost),
        f"{many(cost.networks, 'network')} would be trained and tested: about {duration(cost.testing)}.",
        f"Together about {duration(cost.making + cost.testing)} on {describe(jobs[0].device)}.",
    ]
    if not tested:
        lines[2:] = ["No network would be trained on them and tested."]
    output.answer({"cells": cells, "absent": away, **asdict(cost)}, cells, lines)
    if away:
        output.remark(f"Not on this machine, and not counted: {', '.join(away)}.")
    remark_on_unknown(cost, output)
    output.remark(
        "From trials of a few steps, uncompiled; long runs are compiled and take less. Networks that were measured "
        "before are counted, but only looked up."
    )


def many(count: int, what: str) -> str:
    """ "1 set", "2 sets"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def remark_on_unknown(cost: "Cost", output: Output) -> None:
    """Say of which methods the time is not known, if of any."""
    if cost.unknown:
        output.remark(f"How long {' and '.join(cost.unknown)} takes is not known, and not counted.")


def sets_in_words(cost: "Cost") -> str:
    """What is to be made, and how long that takes."""
    there = f" ({cost.made} {'is' if cost.made == 1 else 'are'} there already)" if cost.made else ""
    operations = f"{cost.operations:.2g} operations of Algorithm 1, " if cost.operations else ""
    return f"{many(cost.sets, 'set')} would be made{there}: {operations}about {duration(cost.making)}."


def words(text: str, what: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names joined by commas, each once.

    Raises:
        UnknownNameError: one is not known.
        UsageError: there is none.
    """
    names = listed(text, what)
    for name in names:
        if name not in known:
            raise UnknownNameError(what, name, known, "Own methods: docs/methods.md" if what == "method" else "")
    return names


def listed(text: str, what: str) -> tuple[str, ...]:
    """What is joined by commas, each once.

    Raises:
        UsageError: there is nothing.
    """
    return tuple(dict.fromkeys(all_listed(text, what)))


def all_listed(text: str, what: str) -> tuple[str, ...]:
    """What is joined by commas, as often as it is there.

    Raises:
        UsageError: there is nothing.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"No {what} was named.", "Join several by commas.")
    return names
