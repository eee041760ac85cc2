"""The paper's published accuracies, for comparison with ours.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021: test accuracy in percent,
mean and standard deviation over 5 sets × 20 networks. `paper.json` has its tables as numbers.
"""

import functools
import json
from pathlib import Path
from typing import Any

MeanStd = tuple[float, float]

EPOCHS_AUGMENTED, EPOCHS_PLAIN = 1000, 300
"""Training epochs of the networks that evaluate a set, with and without augmentation (Section 4.1)."""
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""SGD settings of these networks."""

SCHEDULE = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""ipc → (inner steps T, network epochs per step); 1, 10 and 50 are in the paper, the others in its authors' program."""

CONDENSED_ON = {"vgg11": "vgg11bn", "resnet18": "resnet18bn_ap"}
"""Networks used for condensing in these rows of Table 3: variants with batch norm."""
FROM_DC = ("random", "herding", "forgetting")
"""Methods whose results the paper takes from DC, whose networks are trained by DC's protocol."""
_ORIGINAL_NETWORKS = {"mnist": "lenet", "cifar10": "alexnet", "cifar100": "alexnet"}
QUOTED = {"dd": _ORIGINAL_NETWORKS, "ld": _ORIGINAL_NETWORKS}
"""Methods whose results the paper quotes from their authors, and the networks that the authors used."""


@functools.cache
def tables() -> dict[str, Any]:
    """Return every table by its topic: accuracy (Tables 1 and 2), transfer (3), schemes (4), strategies (5), continual
    (Figure 3), nas (6).
    """
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def paper_accuracy(dataset: str, ipc: int, method: str, condensed_on: str | None, tested_on: str) -> MeanStd | None:
    """Return the paper's accuracy for the same cell, or None if it has none.

    Args:
        dataset, ipc, method: of the set.
        condensed_on: label of the network used for condensing; None if there was none.
        tested_on: label of the network trained on the set.
    """
    if method in QUOTED:
        usual = QUOTED[method].get(dataset)
        return _accuracy(dataset, ipc, method) if usual == condensed_on == tested_on else None
    if tested_on == "convnet" and condensed_on in (None, "convnet"):
        return _accuracy(dataset, ipc, method)
    if (dataset, ipc, method) == ("mnist", 1, "dsa"):
        transfer = tables()["transfer"]
        rows = {CONDENSED_ON.get(row, row): figures for row, figures in transfer["rows"].items()}
        figures = rows.get(condensed_on, [None] * len(transfer["columns"]))
        return _mean_std(dict(zip(transfer["columns"], figures, strict=True)).get(tested_on))
    return None


def full_data_accuracy(dataset: str) -> MeanStd | None:
    """Return the paper's accuracy of networks trained on the whole dataset, or None if it has none."""
    whole = tables()["accuracy"].get("whole", {})
    return _mean_std(whole.get(dataset))


def _accuracy(dataset: str, ipc: int, method: str) -> MeanStd | None:
    rows = tables()["accuracy"]["rows"]
    row: dict[str, Any] = next((row for row in rows if (row["dataset"], row["ipc"]) == (dataset, ipc)), {})
    return _mean_std(row.get(method))


def _mean_std(pair: list[float] | None) -> MeanStd | None:
    return None if pair is None else (pair[0], pair[1])
