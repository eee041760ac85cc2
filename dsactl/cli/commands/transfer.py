"""The command `dsactl transfer`."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import CellOptions, DatasetName, StudyOptions
from dsactl.errors import NetworkError, UsageError
from dsactl.networks.catalogue import ARCHITECTURES, PAPER_ARCHS
from dsactl.recipes import methods as methods
from dsactl.studies.transfer import transfer
from registry import extras

if TYPE_CHECKING:
    from dsactl.studies.cells import Cell
    from dsactl.studies.entries import Entry, Key

EXAMPLES = """Examples:

  dsactl transfer mnist --ipc 1
  dsactl transfer digits --ipc 1 --archs mlp,convnet --iterations 100 --networks 5
  dsactl transfer mnist --ipc 1 --archs convnet,lenet --test-on mlp,convnet,lenet,alexnet,vgg11,resnet18
  dsactl transfer mnist --ipc 1 --sets 5 --dry-run"""

_USUAL = ",".join(PAPER_ARCHS)
_NAMES = ("condensed on", "tested on")


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
    asked = archs or _USUAL
    rows, columns = (study_runs.words(each, "network", list(ARCHITECTURES)) for each in (asked, test_on or asked))
    if not methods.find(method).network:
        raise UsageError(f"--method {method} uses no network to transfer from.", "Use a method that does, e.g. dsa.")
    request, protocol = cell.request(dataset, ipc, method=method), cell.protocol()
    entries = transfer(request, rows, columns, protocol)
    if not run.dry_run:
        extras.require("dsactl transfer", "studies", "matplotlib")

    from dsactl.studies.cells import check
    from dsactl.studies.folder import Folder
    from dsactl.studies.plots import heat_map

    with _suggesting_networks(entries, rows, columns, run.device):
        if run.dry_run:
            study_runs.dry_run(entries, cell.sets, run.device, output)
            return
        job = check(entries, run.device)[0]
    name = job.dataset.name
    plan = study_runs.plan_of(request, cell.sets, protocol, job.dataset)
    folder = Folder(run.out or Path(f"{name}-transfer-{method}-ipc{ipc}"), "transfer", plan)

    def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
        less = "" if cell.iterations is None else f", {cell.iterations} iterations"
        title = f"{name}, {study_runs.per_class(request)}, {method}{less}"
        return {
            "transfer.png": heat_map(
                study_runs.in_order(0, entries, cells),
                study_runs.in_order(1, entries, cells),
                cells,
                title=title,
                row_label=_NAMES[0],
                column_label=_NAMES[1],
            )
        }

    cells = study_runs.run(
        entries, _NAMES, folder, cell.sets, run.device, output, draw, job, ray=run.ray, gpu_share=run.gpu_share
    )
    study_runs.answer(cells, len(entries), _NAMES, folder, cell.sets, output)


@contextlib.contextmanager
def _suggesting_networks(
    entries: "list[Entry]", rows: Sequence[str], columns: Sequence[str], device: str
) -> Iterator[None]:
    """Add the requested networks that can take the images to the error of one that cannot.

    Raises:
        NetworkError: a network cannot take the images.
    """
    try:
        yield
    except NetworkError as error:
        fit = [name for name in dict.fromkeys([*rows, *columns]) if _fits(name, entries, device)]
        others = f"Networks that can: --archs {','.join(fit)}" if fit else "Use larger images or other networks."
        raise NetworkError(error.message, others) from None


def _fits(name: str, entries: "list[Entry]", device: str) -> bool:
    """Return whether a network can take the images for both condensing and testing."""
    from dsactl.studies.cells import check

    try:
        check([entry for entry in entries if entry.key == (name, name)] or entries[:1], device)
    except NetworkError:
        return False
    return True
