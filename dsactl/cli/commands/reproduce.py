"""The command `dsactl reproduce`."""

from typing import Annotated

import typer

from dsactl.cli import options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import Networks, Seed, Sets, StudyOptions
from dsactl.studies.reproduce import KNOWN, Reproduction

EXAMPLES = """Examples:

  dsactl reproduce table1 --dry-run
  dsactl reproduce table1 --only mnist:1,fashionmnist:1 --sets 1 --networks 10
  dsactl reproduce table3 --scale 0.1 --networks 5
  dsactl reproduce table5 --only cifar10
  dsactl reproduce figure6 --scale 0.3"""


def command(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help=f"Table or figure: {', '.join(KNOWN)}.",
            autocompletion=options.one_of(*KNOWN),
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
    names = None if only is None else study_runs.listed(only, "cell")
    study = Reproduction(table, names, sets, networks, scale, seed)
    if not run.dry_run:
        study_runs.run(study, run, output, "pictures" if study.is_figure else "parts")
    elif study.is_figure:
        study_runs.dry_run(study.figure_entries(), 1, run.device, output, tested=False)
    else:
        study_runs.dry_run(study.entries, sets, run.device, output)
