"""Files of gradient norms: medians as JSON, every norm as CSV, and a histogram."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dsactl.studies.folder import Folder, to_csv
from dsactl.studies.gradients import Norms
from dsactl.studies.plots import norms_histogram

COLUMNS = ("condensed", "network", "step", "label", "real", "synthetic")


def write(folder: Folder, found: Mapping[str, Sequence[Norms]], title: str) -> dict[str, dict[str, Any]]:
    """Write JSON, CSV and the histogram.

    Args:
        folder: of the study.
        found: the norms on each set, by how it was condensed.
        title: of the histogram.

    Returns:
        The JSON of each set: the medians of both norms, their ratio, and the number of norms.

    Raises:
        StoreError: the folder cannot be written to.
        UsageError: another process has started another plan here.
    """
    summary = {name: _medians(several) for name, several in found.items()}
    rows = [{"condensed": name, **asdict(norms)} for name, several in found.items() for norms in several]
    with folder.writing():
        folder.put_json({"summary": summary})
        folder.put(f"{folder.study}.csv", to_csv(rows, COLUMNS).encode())
        folder.put(f"{folder.study}.png", norms_histogram(found, title=title))
    return summary


def _medians(norms: Sequence[Norms]) -> dict[str, Any]:
    real, synthetic = (statistics.median(getattr(each, name) for each in norms) for name in ("real", "synthetic"))
    return {"real": real, "synthetic": synthetic, "ratio": synthetic / real, "n": len(norms)}
