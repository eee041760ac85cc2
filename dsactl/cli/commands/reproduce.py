"""The command `dsactl reproduce`."""

from typing import Annotated

import typer

from dsactl.cli import options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import Seed, StudyOptions
from dsactl.studies.clock.curves import METHODS
from dsactl.studies.clock.study import Clock
from dsactl.studies.reproduce import KNOWN, study_of
from dsactl.training.protocols import NAMED

EXAMPLES = """Examples:

  dsactl reproduce table1 --dry-run
  dsactl reproduce table1 --only mnist:1,fashionmnist:1 --sets 1 --networks 10
  dsactl reproduce table3 --scale 0.1 --networks 5
  dsactl reproduce table5 --only cifar10
  dsactl reproduce figure6 --scale 0.3
  dsactl reproduce clock --dry-run
  dsactl reproduce clock --dataset cifar10 --ipc 10 --minutes 10
  dsactl reproduce clock --dataset ~/photos@validation --image-size 32"""

_CLOCK = "Only for clock"
_PROTOCOLS = [name for name, protocol in NAMED.items() if protocol.lr is not None]


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
    sets: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of sets per cell or curve, with derived seeds.  \\[5, as in the paper; clock: 2]"
        ),
    ] = None,
    networks: Annotated[
        int | None,
        typer.Option(min=1, help="Number of networks tested on each set.  \\[20, as in the paper; clock: 5]"),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=0.0001, max=1, help="Factor on the iterations of iterative methods.  \\[1]")
    ] = None,
    seed: Seed = 0,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…", help="Datasets: names or image folders.  \\[fashionmnist, cifar10]", rich_help_panel=_CLOCK
        ),
    ] = None,
    ipc: Annotated[
        str | None, typer.Option(metavar="N,…", help="Numbers of images per class.  \\[1, 10]", rich_help_panel=_CLOCK)
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help=f"Methods: {', '.join(METHODS)}; relabel stands for random images with soft labels.  \\[all]",
            rich_help_panel=_CLOCK,
        ),
    ] = None,
    formation: Annotated[
        str | None,
        typer.Option(
            metavar="F,…",
            help="Numbers of images along each side of a stored image.  \\[1, 2 where that divides the images]",
            rich_help_panel=_CLOCK,
        ),
    ] = None,
    minutes: Annotated[
        int | None, typer.Option(help="Longest time of a run in minutes, 1 to 60.  \\[60]", rich_help_panel=_CLOCK)
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help=f"Evaluation protocol: {', '.join(_PROTOCOLS)}.  \\[the one that the method's sets are made for]",
            autocompletion=options.one_of(*_PROTOCOLS),
            rich_help_panel=_CLOCK,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Training epochs of the tested networks.  \\[the protocol's]", rich_help_panel=_CLOCK),
    ] = None,
    experts: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Pool of experts of dance and relabel.  \\[the one that dance's settings describe, trained if it is "
            "not in the store]",
            autocompletion=options.complete_reference,
            rich_help_panel=_CLOCK,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Network architecture (list: dsactl archs).  \\[convnet]",
            autocompletion=options.complete_arch,
            rich_help_panel=_CLOCK,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels to which images of a folder are resized and cropped.", rich_help_panel=_CLOCK
        ),
    ] = None,
    *,
    run: StudyOptions,
    output: Output,
) -> None:
    """Reproduce a table or figure of the paper as a document with the paper's results next to ours.

    The document is updated after each cell, states what was scaled down, and keeps the cells of earlier calls.

    clock is no table of the paper: it measures accuracy over the minutes that making a set takes on this machine, a
    curve for each method (docs/studies.md).

    The same command resumes an interrupted call. Stored sets and cached results are reused. The plots need the extra
    "studies".
    """
    given = {
        "only": None if only is None else study_runs.listed(only, "cell"),
        "sets": sets,
        "networks": networks,
        "scale": scale,
        "dataset": None if dataset is None else study_runs.listed(dataset, "dataset"),
        "ipc": None if ipc is None else study_runs.images_per_class(ipc),
        "methods": None if methods is None else study_runs.listed(methods, "method"),
        "formation": None if formation is None else study_runs.formations(formation),
        "minutes": minutes,
        "protocol": protocol,
        "epochs": epochs,
        "experts": experts,
        "arch": arch,
        "image_size": image_size,
    }
    study = study_of(table, seed=seed, **{name: value for name, value in given.items() if value is not None})
    if isinstance(study, Clock):
        if run.dry_run:
            study_runs.dry_run_of_clock(study, run.device, output)
        else:
            study_runs.run(study, run, output, "points", "clock")
    elif not run.dry_run:
        study_runs.run(study, run, output, "pictures" if study.is_figure else "parts")
    elif study.is_figure:
        study_runs.dry_run(study.figure_entries(), 1, run.device, output, tested=False)
    else:
        study_runs.dry_run(study.entries, study.sets, run.device, output)
