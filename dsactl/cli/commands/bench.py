"""The command `dsactl bench`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.data.catalogue import CATALOGUE
from dsactl.engine.progress import NO_FIGURES, Progress
from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.recipe import Request
from dsactl.text.formatting import bytes_in_words, many
from dsactl.text.tables import Table

if TYPE_CHECKING:
    from dsactl.benchmark.timing import Timing

EXAMPLES = """Examples:

  dsactl bench
  dsactl bench --dataset mnist --ipc 1
  dsactl bench --method dance --formation 2
  dsactl bench --ipc 10 --precision float32 --json"""


def command(
    dataset: Annotated[
        str,
        typer.Option(
            help="Dataset with the shapes to use; its files are not needed.", autocompletion=options.complete_dataset
        ),
    ] = "cifar10",
    ipc: Annotated[int, typer.Option(min=1, help="Number of images per class.")] = 10,
    method: Annotated[
        str, typer.Option(help="Method: dsa, dc, dm or dance.", autocompletion=options.complete_method)
    ] = "dsa",
    formation: Annotated[
        int, typer.Option(metavar="F", min=1, help="Number of images along each side of a stored image.")
    ] = 1,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    *,
    network: options.NetworkOptions,
    output: Output,
) -> None:
    """Benchmark condensing and evaluation on random images, in at most two minutes.

    On a slow machine only parts are measured and scaled up, as the output states.

    Utilisation is relative to a large matrix product in the same precision, which is about the machine's limit.
    """
    if dataset not in CATALOGUE:
        raise UnknownNameError("dataset", dataset, CATALOGUE, "List them: dsactl datasets")
    request = Request.parse(
        {"dataset": dataset, "ipc": ipc, "method": method, "formation": formation, **network.given()}
    )

    from dsactl.benchmark.bench import METHODS, bench
    from dsactl.benchmark.images import random_dataset
    from dsactl.engine.device import resolve_device, resolve_precision
    from dsactl.parametrisation.formation import check_formation

    if method not in METHODS:
        raise UsageError(f"bench does not measure the method {method!r}.", f"Use one of {', '.join(METHODS)}.")
    check_formation(formation, CATALOGUE[dataset].size)

    target, entry = resolve_device(device), CATALOGUE[dataset]
    recipe = request.resolve(
        dataset,
        "random pixels",
        (entry.channels, *entry.size),
        mirrored=entry.mirrored,
        precision=resolve_precision(precision, target),
    )
    images = random_dataset(dataset, entry, max(recipe.settings.option("batch_real"), recipe.decoded), target)
    result = bench(images, recipe, target, _Notes(output))
    shown = Table(
        ("", "seconds", "low – high", "operations", "utilisation"), right=("seconds", "operations", "utilisation")
    )
    for name, timing in result.timings.items():
        shown.add("evaluation of one network" if name == "evaluation" else name.replace("_", " "), *_row(timing))
    output.answer(
        result.to_dict(),
        [f"{next(iter(result.timings.values())).median:.6f}"],
        [
            f"{result.method}, {result.dataset}, {many(recipe.decoded, 'image')} per class, {result.network}, "
            f"{result.precision}; {result.mode}; {result.device}; torch {result.torch}",
            f"Large matrix product: {result.matrix_product / 1e9:,.0f} GFLOP/s. "
            f"Peak memory: {bytes_in_words(result.memory)}.",
            shown,
        ],
    )
    output.remark(f"Scaled up: {'; '.join(result.scaled)}.")


class _Notes(Progress):
    """A meter that prints one line per measurement; the refreshing of a live bar would be measured too."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del done, total, figures
        self._output.note(f"[dim]{doing} …[/]")


def _row(timing: "Timing") -> list[str]:
    spread = (
        f"{timing.low:.4f} – {timing.high:.4f}, n = {timing.repetitions}" if timing.repetitions > 1 else "scaled up"
    )
    return [f"{timing.median:.4f}", spread, f"{timing.operations:.2g}", f"{100 * timing.share:.0f} %"]
