"""The command `dsactl reproduce`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import options, reproduce_figures, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import Networks, Seed, Sets, StudyOptions
from dsactl.errors import DataError, UnknownNameError
from dsactl.studies.papers import plan, scaled_request
from dsactl.studies.titles import FIGURES, TABLES
from registry import MissingPackageError, extras

if TYPE_CHECKING:
    from dsactl.studies.cells import Cell
    from dsactl.studies.entries import Key
    from dsactl.studies.folder import Folder
    from dsactl.studies.papers import Plan

EXAMPLES = """Examples:

  dsactl reproduce table1 --dry-run
  dsactl reproduce table1 --only mnist:1,fashionmnist:1 --sets 1 --networks 10
  dsactl reproduce table3 --scale 0.1 --networks 5
  dsactl reproduce table5 --only cifar10
  dsactl reproduce figure6 --scale 0.3"""

_KNOWN = (*TABLES, *FIGURES)
_WITHOUT_PLOT = ("figure2", "figure6")


def command(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help=f"Table or figure: {', '.join(_KNOWN)}.",
            autocompletion=options.one_of(*_KNOWN),
        ),
    ],
    only: Annotated[
        str | None,
        typer.Option(
            metavar="CELLS",
            help="Cells by the beginning of their names, e.g. mnist:1,cifar10:1:dsa; for a figure its parts, e.g. "
            "noise,real.  \\[all]",
        ),
    ] = None,
    sets: Sets = 5,
    networks: Networks = 20,
    scale: Annotated[
        float, typer.Option(min=0.0001, max=1, help="Factor on the iterations of iterative methods.")
    ] = 1.0,
    seed: Seed = 0,
    *,
    run: StudyOptions,
    output: Output,
) -> None:
    """Reproduce a table or figure of the paper as a document with the paper's results next to ours.

    The document is updated after each cell, states what was scaled down, and keeps the cells of earlier calls.

    The same command resumes an interrupted call. Stored sets and cached results are reused. The plots need the extra
    "studies".
    """
    if table not in _KNOWN:
        raise UnknownNameError("table", table, _KNOWN)
    names = () if only is None else study_runs.listed(only, "cell")
    whole = None if table in FIGURES else plan(table, sets, networks, scale, seed)
    wanted = whole.only(names) if whole and names else whole
    if not whole:
        reproduce_figures.check(table, names)
    if not run.dry_run and table not in _WITHOUT_PLOT:
        extras.require("dsactl reproduce", "studies", "matplotlib")

    from dsactl.studies.folder import Folder

    about: dict[str, float] = {"scale": scale, "seed": seed}
    if whole is None or wanted is None:
        if table == "figure5":
            about["networks"] = networks
        pictures = reproduce_figures.choose(table, scaled_request(scale, seed), networks, names)
        if run.dry_run:
            reproduce_figures.dry_run(pictures, run.device, output)
        else:
            reproduce_figures.run(table, pictures, Folder(run.out or Path(table), table, about), run.device, output)
        return
    about |= {"sets": sets, "networks": networks}
    if run.dry_run:
        study_runs.dry_run(list(wanted.entries), sets, run.device, output)
        return
    possible = _possible(wanted, run.device, output)
    folder = Folder(run.out or Path(table), table, about)

    def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
        return _document(whole, folder, cells)

    cells = study_runs.run(
        list(possible.entries),
        whole.names,
        folder,
        sets,
        run.device,
        output,
        draw,
        ray=run.ray,
        gpu_share=run.gpu_share,
    )
    study_runs.answer(cells, len(wanted.entries), whole.names, folder, sets, output)


def _possible(plan: "Plan", device: str, output: Output) -> "Plan":
    """Return the plan without the cells whose dataset cannot be loaded, and print an error for each such dataset.

    Raises:
        DataError, MissingPackageError: no dataset can be loaded.
    """
    from dsactl.studies.cells import check

    wrong: dict[str, DataError | MissingPackageError] = {}
    for name in dict.fromkeys(entry.request.dataset for entry in plan.entries):
        try:
            check([entry for entry in plan.entries if entry.request.dataset == name], device)
        except (DataError, MissingPackageError) as error:
            wrong[name] = error
    left = tuple(entry for entry in plan.entries if entry.request.dataset not in wrong)
    if not left:
        raise next(iter(wrong.values()))
    for name, fault in wrong.items():
        output.error(f"Cells of {name} are skipped: {fault.message}", fault.hint)
    return replace(plan, entries=left)


def _in_order(plan: "Plan", cells: "Mapping[Key, Cell]") -> "dict[Key, Cell]":
    return {entry.key: cells[entry.key] for entry in plan.entries if entry.key in cells}


def _document(plan: "Plan", folder: "Folder", cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
    """Return the document of the finished cells in Markdown and HTML, with its plots, by file name."""
    from dsactl.studies.document import Document, to_html, to_markdown
    from dsactl.studies.plots import against_the_paper

    done = _in_order(plan, cells)
    paper = [cell for cell in done.values() if cell.paper]
    ours = (
        "The paper quotes the results of random, herding and forgetting from the DC paper; networks are trained on "
        "these sets as in DC: without augmentation, except on MNIST. The number of training epochs of the networks by "
        "which herding and forgetting select is our choice. The results of dd and ld are quoted from their authors, "
        "who use other networks and training. The paper does not state the epochs and augmentation of whole. For "
        "these methods the difference means little and is omitted."
    )
    text = [
        "Test accuracy in percent, mean ± population standard deviation over n networks: 5 sets × 20 networks and "
        "1000 iterations in the paper. Each cell states what was scaled down; with fewer iterations it is not "
        "comparable, and the difference is omitted.",
        f"Seed {folder.plan['seed']}. Time covers making the sets of a cell, which cells may share, and training and "
        "testing its networks.",
        *([ours] if plan.name in ("table1", "table2") else []),
    ]
    pictures, files = {}, {}
    if paper:
        plot = against_the_paper({" ".join(key): cell for key, cell in done.items() if cell.paper})
        pictures["Our accuracy over the paper's, with standard deviations; equal on the line"] = plot
        files[f"{plan.name}.png"] = plot
    document = Document(plan.title, text, plan.names, done, len(plan.entries), pictures)
    names = dict(zip(pictures, files, strict=True))
    files[f"{plan.name}.md"] = to_markdown(document, names).encode()
    files[f"{plan.name}.html"] = to_html(document).encode()
    return files
