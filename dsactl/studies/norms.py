"""Files of gradient norms: medians as JSON, every norm as CSV, and a histogram."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dsactl.recipes.recipe import Request
from dsactl.studies.folder import Folder, to_csv
from dsactl.studies.gradients import Norms
from dsactl.studies.options import per_class
from dsactl.studies.plots import norms_histogram
from dsactl.studies.result import StudyResult
from dsactl.text.tables import Table

COLUMNS = ("condensed", "network", "step", "label", "real", "synthetic")


def write(folder: Folder, found: Mapping[str, Sequence[Norms]], request: Request) -> StudyResult:
    """Write JSON, CSV and the histogram, and return the table of medians.

    Args:
        folder: of the study.
        found: the norms on each set, by how it was condensed.
        request: of the sets.

    Raises:
        StoreError: the folder cannot be written to.
        UsageError: another process has started another plan here.
    """
    summary = {name: _medians(several) for name, several in found.items()}
    rows = [{"condensed": name, **asdict(norms)} for name, several in found.items() for norms in several]
    with folder.writing():
        folder.put_json({"summary": summary})
        folder.put(f"{folder.study}.csv", to_csv(rows, COLUMNS).encode())
        folder.put(
            f"{folder.study}.png", norms_histogram(found, title=f"{folder.plan['dataset']}, {per_class(request)}")
        )
    shown = Table(("condensed", "real", "synthetic", "ratio", "n"), right=("real", "synthetic", "ratio", "n"))
    for name, each in summary.items():
        shown.add(name, *(f"{each[key]:.3g}" for key in ("real", "synthetic", "ratio")), str(each["n"]))
    return StudyResult(
        folder.path,
        {"study": folder.study, "plan": folder.plan, "summary": summary},
        (("Median gradient norms per class", shown),),
        files=tuple(f"{folder.study}.{ending}" for ending in ("csv", "json", "png")),
    )


def _medians(norms: Sequence[Norms]) -> dict[str, Any]:
    real, synthetic = (statistics.median(getattr(each, name) for each in norms) for name in ("real", "synthetic"))
    return {"real": real, "synthetic": synthetic, "ratio": synthetic / real, "n": len(norms)}
