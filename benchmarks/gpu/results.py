"""What the commands of a step print, read as results for its record."""

import json
import re
from statistics import fmean
from typing import Any

from benchmarks.gpu import authors

Results = dict[str, Any]


def machine(outputs: list[str]) -> Results:
    """Read torch's JSON and that of `dsactl env`, the last two outputs; before them is the head of nvidia-smi."""
    *smi, torch, env = outputs
    head = smi[0].splitlines()[:12] if smi else []
    driver = re.search(r"Driver Version: *([\d.]+)", "\n".join(head))
    return {**json.loads(torch), "driver": driver and driver[1], "env": json.loads(env), "nvidia_smi": head}


def tests(outputs: list[str]) -> Results:
    """Read the last line of pytest: the numbers of tests by outcome, and the names of those that failed."""
    lines = outputs[-1].splitlines()
    counts = re.findall(r"(\d+) (passed|failed|errors?|skipped)\b", lines[-1] if lines else "")
    failed = [line.split(" - ")[0].split(maxsplit=1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return {**{outcome: int(count) for count, outcome in counts}, "names": failed} if counts else {}


def bench(outputs: list[str]) -> Results:
    """Read the JSON of `dsactl bench`."""
    return dict(json.loads(outputs[-1]))


def authors_speed(outputs: list[str]) -> Results:
    """Read the log of the authors' program."""
    return authors.seconds_per_iteration(outputs[-1])


def cell(outputs: list[str]) -> Results:
    """Read the JSON of `dsactl condense` and `dsactl evaluate`; only the first, if the second has none yet."""
    (made,) = json.loads(outputs[0])
    results: Results = {"reference": made["reference"], "digest": made["digest"], "making": made["seconds"]}
    return {**results, **evaluation(outputs)} if outputs[1:] and outputs[1] else results


def evaluation(outputs: list[str]) -> Results:
    """Read the JSON of `dsactl evaluate`."""
    found = json.loads(outputs[-1])
    names = ("reference", "mean", "std", "n", "accuracies", "epochs", "augmentation", "seconds", "device")
    return {name: found[name] for name in names}


def study(outputs: list[str]) -> Results:
    """Read the JSON of a study: the accuracies in its table; of `continual`, those after the last task."""
    found = json.loads(outputs[-1])
    accuracies = [cell["mean"] for cell in found.get("cells", [])]
    accuracies += [line["means"][-1]["mean"] for line in found.get("lines", [])]
    accuracies += [fmean(row["accuracies"]) for row in found.get("rows", [])]
    return {"folder": found["folder"], "accuracies": accuracies}


def reference_of(output: str) -> str:
    """Return the reference of the set that `dsactl condense` made."""
    return str(json.loads(output)[0]["reference"])
