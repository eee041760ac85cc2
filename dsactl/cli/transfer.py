"""dsactl transfer"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsactl.cli import options
from dsactl.cli.output import Output, mean_and_deviation
from dsactl.cli.studying import interrupted, out_folder
from dsactl.cli.tables import Table
from dsactl.errors import UnknownNameError, UsageError
from dsactl.networks.catalogue import ARCHITECTURES
from dsactl.recipe import Request

if TYPE_CHECKING:
    from dsactl.studies.cells import Cell, Report
    from dsactl.studies.folder import Folder
    from dsactl.studies.transfer import Transfer

EXAMPLES = """Examples:

  dsactl transfer mnist --ipc 1
  dsactl transfer digits --ipc 1 --archs mlp,convnet --iterations 100 --networks 5
  dsactl transfer mnist --ipc 1 --archs convnet,lenet --test-on mlp,convnet,lenet,alexnet,vgg11,resnet18
  dsactl transfer mnist --ipc 1 --sets 5 --dry-run"""

_USUAL = "mlp,convnet,lenet,alexnet,vgg11,resnet18"
Matrix = dict[tuple[str, ...], "Cell"]


def command(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A name (see: dsactl datasets) or a folder.",
            autocompletion=options.complete_dataset,
        ),
    ],
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 1,
    archs: Annotated[str, typer.Option(metavar="A,B,…", help="Networks to condense on.")] = _USUAL,
    test_on: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Networks to test on.  \\[those of --archs]")
    ] = None,
    method: Annotated[str, typer.Option(help="As of condense.", autocompletion=options.complete_method)] = "dsa",
    sets: Annotated[int, typer.Option(min=1, help="Sets per network; the paper has 5.")] = 1,
    networks: Annotated[int, typer.Option(help="Networks per set and cell.")] = 20,
    iterations: Annotated[int | None, typer.Option(help="Outer iterations K.  \\[1000]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of the networks that are tested.  \\[1000 or 300]")] = None,
    seed: Annotated[int, typer.Option(help="The root of every draw.")] = 0,
    image_size: Annotated[int | None, typer.Option(help="For a folder, as with condense.")] = None,
    device: options.Device = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results.  \\[DATASET-transfer-METHOD-ipcN here]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; do nothing.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Condense on each network and test on each: Table 3 of the paper, for any data set.

    Every set and every measurement is kept as it comes. An interrupted study goes on when the same command is given
    again, and what other commands have made already is used. vgg11 and resnet18 are condensed with batch norm and
    tested with instance norm.
    """
    rows, columns = _networks(archs), _networks(test_on or archs)
    output = Output(as_json=as_json, quiet=quiet)
    given = {"method": method, "seed": seed, "iterations": iterations, "image_size": image_size}
    given = {name: value for name, value in given.items() if value is not None}
    request = Request.parse({"dataset": dataset, "ipc": ipc, **given})

    from dsactl.data.load import load_dataset
    from dsactl.evaluation import Protocol
    from dsactl.studies.transfer import Transfer, check

    study = Transfer(request, rows, columns, sets, Protocol(networks=networks, epochs=epochs))
    real = load_dataset(dataset, image_size=image_size)
    check(study, real.channels, real.size, real.classes)
    if dry_run:
        _dry_run(study, output)
        return
    folder = out_folder(out or Path(f"{real.name}-transfer-{method}-ipc{ipc}"), "transfer", _plan(study, real.name))
    matrix: Matrix = {}
    with interrupted("cells", len(rows) * len(columns), lambda: len(matrix)):
        _fill(matrix, study, folder, device, output)
    _write(folder, study, matrix)
    value = {"folder": str(folder.path), "cells": _values(matrix)}
    output.answer(value, [str(folder.path)], _tables(study, matrix))
    output.remark(f"{networks} networks on each of {sets} sets; mean ± population standard deviation over all of them.")
    output.note(f"In {folder.path}: transfer.csv, transfer.json, transfer.png")


def _networks(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in ARCHITECTURES:
            raise UnknownNameError("network", name, ARCHITECTURES)
    if not names:
        raise UsageError("No network was named.", f"For example: --archs {_USUAL}")
    return names


def _plan(study: "Transfer", dataset: str) -> dict[str, Any]:
    """What makes two studies the same: all but how much of them is asked for."""
    request, protocol = study.request, study.protocol
    return {
        "dataset": dataset,
        "ipc": request.ipc,
        "method": request.method,
        "seed": request.seed,
        "iterations": request.iterations,
        "image_size": request.image_size,
        "sets": study.sets,
        "networks": protocol.networks,
        "epochs": protocol.epochs,
    }


def _fill(matrix: Matrix, study: "Transfer", folder: "Folder", device: str, output: Output) -> None:
    """Run the study, cell by cell, each written as it comes."""
    import registry
    from dsactl.studies.transfer import transfer

    total = len(study.rows) * (1 + len(study.columns))
    with output.progress("transfer", total, "parts") as bar:

        def report(row: str, column: str | None) -> "Report":
            before = study.rows.index(row) * (1 + len(study.columns))
            before += 0 if column is None else 1 + study.columns.index(column)
            what = f"condensing on {row}" if column is None else f"{row} → {column}"

            def tell(done: float, of: float, doing: str) -> None:
                bar.update(before + done / of, f"{what}, {doing}")

            return tell

        for row, column, cell in transfer(study, registry.Store(), device, report):
            matrix[row, column] = cell
            _write(folder, study, matrix)


def _write(folder: "Folder", study: "Transfer", matrix: Matrix) -> None:
    from dsactl.studies.plots import heat_map

    request = study.request
    folder.write(matrix, ("condensed_on", "tested_on"))
    points = {(row, column): (cell.mean, cell.std) for (row, column), cell in matrix.items()}
    title = f"{folder.plan['dataset']}, {request.ipc} per class, {request.method}"
    words = {"row_label": "condensed on", "column_label": "trained and tested on"}
    folder.put("transfer.png", heat_map(study.rows, study.columns, points, title=title, **words))


def _values(matrix: Matrix) -> list[dict[str, Any]]:
    from dsactl.studies.folder import as_json

    return [{"condensed_on": row, "tested_on": column, **as_json(cell)} for (row, column), cell in matrix.items()]


def _tables(study: "Transfer", matrix: Matrix) -> list[str | Table]:
    """The matrix, with the paper's figure below ours where it has one."""
    shown = Table(("condensed on", *study.columns), right=study.columns)
    for row in study.rows:
        cells = [matrix[row, column] for column in study.columns]
        shown.add(row, *(mean_and_deviation(cell.mean, cell.std) for cell in cells))
        if any(cell.paper for cell in cells):
            shown.add("  paper", *(mean_and_deviation(*cell.paper) if cell.paper else "–" for cell in cells))
    return ["Test accuracy, %; columns: trained and tested on", shown]


def _dry_run(study: "Transfer", output: Output) -> None:
    cells = len(study.rows) * len(study.columns)
    count = cells * study.sets * study.protocol.networks
    value = {"rows": study.rows, "columns": study.columns, "sets": len(study.rows) * study.sets, "networks": count}
    lines = [
        f"Would condense {len(study.rows) * study.sets} sets, {study.sets} on each of {', '.join(study.rows)}.",
        f"Would train {count} networks for {cells} cells, on each of {', '.join(study.columns)}.",
    ]
    output.answer(value, study.rows, lines)
    output.note("What a set costs: dsactl condense DATASET --ipc N --arch NAME --dry-run")
