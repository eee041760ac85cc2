"""The command `dsactl ablate`."""

from typing import Annotated

import typer

from dsactl.cli import options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import CellOptions, DatasetName, StudyOptions
from dsactl.studies.ablate import STUDIES, Ablation

EXAMPLES = """Examples:

  dsactl ablate strategies cifar10 --ipc 10 --dry-run
  dsactl ablate schemes digits --kinds crop,rotate --iterations 100 --networks 5
  dsactl ablate ipc digits --ipc 1,10 --methods random,herding,dsa --sets 5
  dsactl ablate init digits --iterations 300
  dsactl ablate gradients digits --ipc 10 --iterations 20"""


def command(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help=f"Study: {', '.join(STUDIES)}.", autocompletion=options.one_of(*STUDIES)),
    ],
    dataset: DatasetName,
    ipc: Annotated[
        str, typer.Option(metavar="N", help="Number of images per class; a list for the study ipc: 1,10,50.")
    ] = "1",
    method: Annotated[
        str,
        typer.Option(help="Condensing method: dsa; in the study init also dc.", autocompletion=options.complete_method),
    ] = "dsa",
    several: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B,…", help="Methods to compare in the study ipc.  \\[random, dc, dsa]"),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Kinds of augmentation in the studies schemes and strategies.  \\[schemes: those of Table 4; "
            "strategies: all that suit the dataset]",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--schemes", metavar="A,B,…", help="Rows of Table 4 in the study schemes.  \\[all seven]"),
    ] = None,
    *,
    cell: CellOptions,
    arch: options.Arch = None,
    run: StudyOptions,
    output: Output,
) -> None:
    """Vary one factor and fix the others, as in Tables 4 and 5 and Figures 5 and 6 of the paper.

    schemes: which batches are augmented, with one transformation per batch or one per image.

    strategies: each kind of augmentation alone, and all together.

    init: initialisation from noise and from real images, with pictures of the progress.

    gradients: gradient norms of real and synthetic batches, with and without augmentation.

    ipc: accuracy over the number of images per class, for several methods.

    Stored sets and cached results are reused. The plots need the extra "studies".
    """
    ablation = Ablation(
        study,
        dataset,
        study_runs.images_per_class(ipc),
        method,
        None if several is None else study_runs.listed(several, "method"),
        None if kinds is None else study_runs.listed(kinds, "kind of augmentation"),
        None if rows is None else study_runs.listed(rows, "scheme"),
        arch=arch,
        **vars(cell),
    )
    if run.dry_run:
        study_runs.dry_run(ablation.entries, cell.sets, run.device, output, tested=study != "gradients")
    else:
        study_runs.run(ablation, run, output, "parts")
