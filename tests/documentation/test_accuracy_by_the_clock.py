"""The figures of the how-tos after one and five minutes are those of the study's results."""

import json
import re
import statistics
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PLOTS = [("cifar10", 1), ("cifar10", 10), ("fashionmnist", 1), ("fashionmnist", 10)]
"""The columns of the table."""


def test_the_how_tos_have_the_results() -> None:
    points = json.loads((DOCS / "clock.json").read_text(encoding="utf-8"))["points"]
    text = (DOCS / "howto.md").read_text(encoding="utf-8")
    _, _, table = text.partition(
        "| % | CIFAR-10, 1 image per class | CIFAR-10, 10 | FashionMNIST, 1 | FashionMNIST, 10 |\n"
    )
    rows = table.partition("\n\n")[0].splitlines()[1:]
    assert len(rows) == 10
    for row in rows:
        label, *cells = (each.strip() for each in row.strip("|").split("|"))
        (method,) = re.findall(r"`(\w+)`", label)
        formation = 2 if "formation 2" in label else 1
        for plot, cell in zip(PLOTS, cells, strict=True):
            means = {
                point["minutes"]: statistics.fmean(point["accuracies"])
                for point in points
                if (point["dataset"], point["ipc"]) == plot
                and (point["method"], point["formation"]) == (method, formation)
                and point["minutes"] <= 5
            }
            assert cell == ", ".join(f"{means[minutes]:.1f}" for minutes in sorted(means)), (label, plot)
