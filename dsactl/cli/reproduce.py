"""dsactl reproduce"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import figures, options, studying
from dsactl.cli.output import Output
from dsactl.errors import DataError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from dsactl.studies.cells import Cell, Key
    from dsactl.studies.folder import Folder
    from dsactl.studies.papers import Plan

EXAMPLES = """Examples:

  dsactl reproduce table1 --dry-run
  dsactl reproduce table1 --only mnist:1,fashionmnist:1 --sets 1 --networks 10
  dsactl reproduce table3 --scale 0.1 --networks 5
  dsactl reproduce table5 --only cifar10
  dsactl reproduce figure6 --scale 0.3"""

_TABLES = ("table1", "table2", "table3", "table4", "table5")
_FIGURES = ("figure2", "figure5", "figure6")


def command(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help=f"{', '.join((*_TABLES, *_FIGURES))}.",
            autocompletion=options.one_of(*_TABLES, *_FIGURES),
        ),
    ],
    only: Annotated[
        str | None,
        typer.Option(metavar="CELLS", help="Cells whose name begins so, joined by commas: mnist:1,cifar10:1:dsa."),
    ] = None,
    sets: studying.Sets = 5,
    networks: studying.Networks = 20,
    scale: Annotated[
        float, typer.Option(min=0.0001, max=1, help="Of the iterations of the methods that have some.")
    ] = 1.0,
    seed: studying.Seed = 0,
    device: options.Device = "auto",
    out: studying.Out = None,
    dry_run: studying.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a table or figure of the paper, cell by cell, into a document that has its numbers beside ours.

    The document grows as cells are finished, says what was scaled down, and keeps the cells of earlier calls.

    An interrupted call goes on when it is given again; what other commands have made or measured is used.
    """
    if table not in (*_TABLES, *_FIGURES):
        raise UnknownNameError("table", table, (*_TABLES, *_FIGURES))
    output = Output(as_json=as_json, quiet=quiet)
    names = [] if only is None else [text.strip() for text in only.split(",") if text.strip()]

    from dsactl.studies.folder import Folder
    from dsactl.studies.papers import plan, scaled_request

    about = {"sets": sets, "networks": networks, "scale": scale, "seed": seed}
    if table in _FIGURES:
        pictures = figures.choose(table, scaled_request(scale, seed), networks, names)
        if dry_run:
            output.answer({"parts": [part.name for part in pictures]}, [], [part.caption for part in pictures])
            return
        figures.run(table, pictures, Folder(out or Path(table), table, about), device, output)
        return
    whole = plan(table, networks, scale, seed)
    wanted = whole.only(names) if names else whole
    if not wanted.entries:
        known = ", ".join(dict.fromkeys(":".join(entry.key) for entry in whole.entries[:8]))
        raise UsageError(f"{table} has no cell that begins with {only}.", f"It has {known} …")
    if dry_run:
        studying.dry_run(list(wanted.entries), sets, device, output)
        return
    _check(wanted, device)
    folder = Folder(out or Path(table), table, about)

    def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
        return _document(whole, folder, cells)

    cells = studying.run(list(wanted.entries), whole.names, folder, sets, device, output, draw)
    studying.answer(cells, whole.names, folder, sets, output)


def _check(plan: "Plan", device: str) -> None:
    """Refuse, before any work, a plan some of whose cells cannot be made here.

    Raises:
        DataError: a data set is missing; says how to go on without it.
    """
    from dsactl.studies.cells import check

    names = list(dict.fromkeys(entry.request.dataset for entry in plan.entries))
    wrong: dict[str, DataError] = {}
    for name in names:
        try:
            check([entry for entry in plan.entries if entry.request.dataset == name], device)
        except DataError as error:
            wrong[name] = error
    if wrong:
        first, others = next(iter(wrong.values())), ",".join(name for name in names if name not in wrong)
        without = f" Without {' and '.join(wrong)}: --only {others}" if others else ""
        raise DataError(str(first), first.hint + without)


def _in_order(plan: "Plan", cells: "Mapping[Key, Cell]") -> "dict[Key, Cell]":
    return {entry.key: cells[entry.key] for entry in plan.entries if entry.key in cells}


def _document(plan: "Plan", folder: "Folder", cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
    """The document of what is finished, in Markdown and HTML, with its plots."""
    from dsactl.studies.papers import PAPER_NETWORKS, PAPER_SETS
    from dsactl.studies.plots import against_the_paper
    from dsactl.studies.report import Report, to_html, to_markdown

    done = _in_order(plan, cells)
    about, paper = folder.plan, [cell for cell in done.values() if cell.paper]
    scaled = [
        f"{about['sets']} of the paper's {PAPER_SETS} sets",
        f"{about['networks']} of its {PAPER_NETWORKS} networks per set",
        f"{about['scale']:g} of its iterations",
    ]
    ours = (
        "What the paper does not say is ours: how long the networks are trained by which herding and forgetting "
        "choose, and those that are trained on everything; and the settings of dd and ld, whose figures it quotes from "
        "their authors (docs/methods.md). All sets but dc's are evaluated with augmentation."
    )
    text = [
        f"Test accuracy in percent, mean ± population standard deviation over n networks; {', '.join(scaled)}.",
        f"Seed {about['seed']}. Each cell says on what machine, with what program, and how long making its sets and "
        "training its networks took.",
        *([ours] if plan.name in ("table1", "table2") else []),
    ]
    pictures, files = {}, {}
    if paper:
        plot = against_the_paper({" ".join(key): cell for key, cell in done.items() if cell.paper})
        pictures["Ours over the paper's, with deviations; on the line they are equal"] = plot
        files[f"{plan.name}.png"] = plot
    report = Report(plan.title, text, plan.names, done, len(plan.entries), pictures)
    names = dict(zip(pictures, files, strict=True))
    files[f"{plan.name}.md"] = to_markdown(report, names).encode()
    files[f"{plan.name}.html"] = to_html(report).encode()
    return files
