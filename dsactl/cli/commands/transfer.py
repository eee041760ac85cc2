"""The command `dsactl transfer`."""

from typing import Annotated

import typer

from dsactl.cli import options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import CellOptions, DatasetName, StudyOptions
from dsactl.networks.catalogue import PAPER_ARCHS
from dsactl.studies.transfer import Transfer

EXAMPLES = """Examples:

  dsactl transfer mnist --ipc 1
  dsactl transfer digits --ipc 1 --archs mlp,convnet --iterations 100
  dsactl transfer cifar10 --archs convnet,resnet18 --method dm --formation 2
  dsactl transfer mnist --ipc 1 --archs convnet,lenet --test-on mlp,resnet18
  dsactl transfer mnist --ipc 1 --sets 5 --dry-run"""


def command(
    dataset: DatasetName,
    ipc: Annotated[int, typer.Option(help="Number of images per class.")] = 1,
    archs: Annotated[
        str | None, typer.Option(metavar="A,B,…", help=f"Networks to condense on.  \\[{', '.join(PAPER_ARCHS)}]")
    ] = None,
    test_on: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Networks to test on.  \\[those of --archs]")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Condensing method that uses a network, e.g. dsa, dc or dd.", autocompletion=options.complete_method
        ),
    ] = "dsa",
    formation: Annotated[
        int, typer.Option(metavar="F", min=1, help="Number of images along each side of a stored image, for all sets.")
    ] = 1,
    *,
    cell: CellOptions,
    run: StudyOptions,
    output: Output,
) -> None:
    """Condense on each network and test on each: Table 3 of the paper, for any dataset.

    Each result is stored when it is finished; the same command resumes an interrupted study. Stored sets and cached
    results are reused. vgg11 and resnet18 are condensed with batch norm and tested with instance norm. The plot needs
    the extra "studies".
    """
    rows = PAPER_ARCHS if archs is None else study_runs.listed(archs, "network")
    columns = None if test_on is None else study_runs.listed(test_on, "network")
    study = Transfer(dataset, ipc, rows, columns, method, formation, **vars(cell))
    if run.dry_run:
        with study.suggesting_networks(run.device):
            study_runs.dry_run(study.entries, cell.sets, run.device, output)
    else:
        study_runs.run(study, run, output, "parts")
