"""The speed of the paper authors' program, from the times in its log.

The program is a checkout of github.com/VICO-UoE/DatasetCondensation that the user names; nothing of it is here.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

ITERATIONS = {1: 200, 10: 20, 50: 10}
"""Iterations by images per class: the log has the time, in whole seconds, of every tenth."""
STRATEGY = "color_crop_cutout_flip_scale_rotate"

_LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] (?:(training begins)|iter = (\d+))")


def command(checkout: Path, ipc: int, scale: float, data: Path, results: Path) -> tuple[str, ...]:
    """Return the command that condenses CIFAR-10 for a few iterations, without evaluating.

    Args:
        checkout: the folder of the program.
        ipc: images per class.
        scale: of the number of iterations.
        data: folder of the dataset, in torchvision's layout.
        results: folder for the program's own files.
    """
    options = {
        "dataset": "CIFAR10",
        "model": "ConvNet",
        "method": "DSA",
        "dsa_strategy": STRATEGY,
        "init": "real",
        "ipc": ipc,
        "Iteration": max(1, round(ITERATIONS[ipc] * scale)),
        "num_exp": 1,
        "num_eval": 0,
        "data_path": data,
        "save_path": results,
    }
    flags = (part for name, value in options.items() for part in (f"--{name}", str(value)))
    return ("python", str(checkout / "main.py"), *flags)


def seconds_per_iteration(log: str) -> dict[str, Any]:
    """Return the seconds per iteration, and the number of iterations between the first and the last time in a log.

    The time before iteration 0 is left out if there is a later one, since that iteration warms up.

    Returns:
        `seconds_per_iteration` and `iterations`; nothing if the log has not the times of one iteration.
    """
    times: list[tuple[int, datetime]] = []
    for when, begins, iteration in _LINE.findall(log):
        done = 0 if begins else int(iteration) + 1
        times.append((done, datetime.fromisoformat(when)))
    if len(times) < 2:
        return {}
    (first, begun), (last, ended) = times[1 if len(times) > 2 else 0], times[-1]
    if last <= first:
        return {}
    return {"seconds_per_iteration": (ended - begun).total_seconds() / (last - first), "iterations": last - first}
