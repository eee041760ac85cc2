"""The paper's own figures, to stand beside ours.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021: test accuracy in percent,
mean and standard deviation over 5 sets × 20 networks. `paper.json` has its tables as numbers.
"""

import functools
import json
from pathlib import Path
from typing import Any

Figure = tuple[float, float]

EPOCHS_AUGMENTED, EPOCHS_PLAIN = 1000, 300
"""Epochs of the networks that are trained on a set, with and without augmentation (Section 4.1)."""
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""Of the SGD that these networks are trained by."""

SCHEDULE = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""ipc → (inner steps T, network epochs per step); 1, 10 and 50 are in the paper, the others in its authors' program."""

CONDENSED_ON = {"vgg11": "vgg11bn", "resnet18": "resnet18bn_ap"}
"""What the networks of these rows of Table 3 are while condensing: with batch norm."""
FROM_DC = ("random", "herding", "forgetting")
"""Methods whose figures the paper takes from DC's, whose networks are trained as DC's are."""
_THEIRS = {"mnist": "lenet", "cifar10": "alexnet", "cifar100": "alexnet"}
QUOTED = {"dd": _THEIRS, "ld": _THEIRS}
"""Methods whose figures the paper quotes from their authors, and the networks that those used."""


@functools.cache
def tables() -> dict[str, Any]:
    """Every table, by what it is about: accuracy (Tables 1 and 2), transfer (3), schemes (4), strategies (5), continual
    (Figure 3), nas (6).
    """
    found: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return found


def paper_accuracy(dataset: str, ipc: int, method: str, condensed_on: str | None, tested_on: str) -> Figure | None:
    """The paper's accuracy for the same cell, or None where it has none.

    Args:
        dataset, ipc, method: of the set.
        condensed_on: label of its network; None where there was none.
        tested_on: label of the network that is trained on it.
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
        return _figure(dict(zip(transfer["columns"], figures, strict=True)).get(tested_on))
    return None


def whole_accuracy(dataset: str) -> Figure | None:
    """The paper's accuracy of networks that are trained on the whole data set; None where it has none."""
    whole = tables()["accuracy"].get("whole", {})
    return _figure(whole.get(dataset))


def _accuracy(dataset: str, ipc: int, method: str) -> Figure | None:
    rows = tables()["accuracy"]["rows"]
    row: dict[str, Any] = next((row for row in rows if (row["dataset"], row["ipc"]) == (dataset, ipc)), {})
    return _figure(row.get(method))


def _figure(pair: list[float] | None) -> Figure | None:
    return None if pair is None else (pair[0], pair[1])
