"""Gradient norms for `dsactl ablate gradients` (Figure 5)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from dsactl.cli import study_runs
from dsactl.cli.output import Output
from dsactl.text.tables import Table
from dsactl.recipes.recipe import Request

if TYPE_CHECKING:
    from dsactl.studies.folder import Folder
    from dsactl.studies.gradients import Norms


def run(requests: Sequence[Request], networks: int, folder: "Folder", device: str, output: Output) -> None:
    """Condense with and without augmentation, measure the gradient norms, and write numbers and a histogram.

    Args:
        requests: the requests with and without augmentation, in this order.
        networks: number of networks that are matched and trained on each set.
        folder: results folder.
        device: a device name as `condense` takes it.
        output: destination of progress and answer.
    """
    from dsactl.studies import norms
    from dsactl.studies.gradients import CONDENSED

    asked = zip(CONDENSED, requests, strict=True)
    found = {name: _measure(name, request, networks, device, output) for name, request in asked}
    summary = norms.write(folder, found, f"{folder.plan['dataset']}, {study_runs.per_class(requests[0])}")
    shown = Table(("condensed", "real", "synthetic", "ratio", "n"), right=("real", "synthetic", "ratio", "n"))
    for name, each in summary.items():
        numbers = (f"{each[key]:.3g}" for key in ("real", "synthetic", "ratio"))
        shown.add(name, *numbers, str(each["n"]))
    value = {"study": folder.study, "plan": folder.plan, "summary": summary}
    output.answer(value, [str(folder.path)], ["Median gradient norms per class", shown])
    output.note(f"In {escape(str(folder.path))}: gradients.csv, gradients.json, gradients.png")


def _measure(name: str, request: Request, networks: int, device: str, output: Output) -> "list[Norms]":
    import registry
    from dsactl.studies.gradients import measure_norms

    with study_runs.explained_interrupt(), study_runs.steps(name, output) as report:
        return measure_norms(request, networks, registry.Store(), device, report)
