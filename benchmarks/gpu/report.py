"""The report: a page of Markdown, made again from the records after every step."""

import shlex
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any

from benchmarks.gpu.running import DONE, FAILED, PASSED_OVER, UNFINISHED, Record
from dsactl.paper import SCHEDULE
from dsactl.text.formatting import bytes_in_words, duration, many

DASH = "–"
BATCH = 256  # images of a training step in condensing
CLASSES = 10  # of the benchmark's dataset
AUTHORS_DATASET = "cifar10"  # in a rehearsal ours is a smaller one

Row = tuple[str, ...]


def report(records: Sequence[Record], scale: float) -> str:
    """Return the page.

    Args:
        records: of all steps that were run or passed over, in order.
        scale: of the run; below 1 it is a rehearsal.
    """
    parts = [
        "# The first check on a GPU" if scale == 1 else "# A rehearsal of the check on a GPU",
        _about(records, scale),
        _table(("step", "result", "the paper's", "time", "state"), (_row(record) for record in records)),
        *_speed(records),
        *_broken(records),
    ]
    return "\n\n".join(parts) + "\n"


def in_words(record: Record) -> str:
    """Describe the result of a step in a few words; a dash if it has none."""
    found = record.results
    match record.kind:
        case _ if not found:
            return DASH
        case "machine":
            gpu = f"{found['gpu']}, {bytes_in_words(found['memory'])}" if found["gpu"] else "no GPU"
            driver = f", driver {found['driver']}" if found["driver"] else ""
            return f"{gpu}{driver}; {found['env']['engine']}; {found['env']['precision']}"
        case "tests":
            counts = [f"{count} {outcome}" for outcome, count in found.items() if isinstance(count, int)]
            return ", ".join(counts)
        case "bench":
            first, timing = next(iter(_timings(found).items()))
            return f"{first.replace('_', ' ')} {_short_time(timing['median'])}"
        case "authors":
            return f"{found['seconds_per_iteration']:.3g} s per iteration, over {found['iterations']}"
        case "study":
            return f"accuracies {', '.join(f'{accuracy:.1f}' for accuracy in found['accuracies'])} %"
        case _ if "mean" in found:
            spread = f" ± {found['std']:.1f}" if found["n"] > 1 else ""
            return f"{found['mean']:.1f}{spread} %, n = {found['n']}"
        case _:
            return "made, not yet evaluated"


def _about(records: Sequence[Record], scale: float) -> str:
    """Describe where and how far the steps went."""
    machines = dict.fromkeys(record.machine for record in records)
    counts = {state: sum(record.state == state for record in records) for state in _STATES}
    said = [f"{count} {state}" for state, count in counts.items() if count]
    lines = [f"On {'; '.join(machines)}.", f"{many(len(records), 'step')}: {', '.join(said)}."]
    if scale < 1:
        lines.append(f"Iterations, epochs and networks are {scale:g} of the full numbers: no figure here is a result.")
    return "\n".join(lines)


_STATES = (DONE, FAILED, UNFINISHED, PASSED_OVER)


def _row(record: Record) -> Row:
    paper = f"{record.paper[0]:.1f} ± {record.paper[1]:.1f}" if record.paper else DASH
    making = f" (making {duration(record.results['making'])})" if "making" in record.results else ""
    time = DASH if record.state == PASSED_OVER else f"{duration(record.seconds)}{making}"
    state = f"**{record.state}**" if record.state in (FAILED, UNFINISHED) else record.state
    state = f"{state}: {record.why}" if record.why else state
    return record.title, in_words(record), paper, time, state


def _speed(records: Sequence[Record]) -> list[str]:
    """Return the table of the benchmarks, beside the authors' program on the same machine and dataset; or nothing."""
    theirs = {(each.machine, *each.tag): each for each in records if each.kind == "authors" and each.tag}
    rows: list[Row] = []
    shapes: dict[str, None] = {}
    for record in records:
        if record.kind != "bench" or not record.results or not record.tag:
            continue
        found, (method, ipc) = record.results, record.tag
        timings, other = _timings(found), theirs.get((record.machine, method, ipc))
        ours = _iteration(timings, int(ipc))
        authors = other.results.get("seconds_per_iteration") if other and found["dataset"] == AUTHORS_DATASET else None
        first = next(iter(timings.values()))
        shapes[f"{found['dataset']}, {found['network']}, {found['precision']}, {found['mode']}"] = None
        rows.append(
            (
                f"{method}, {ipc}",
                _short_time(first["median"]),
                f"{100 * first['share']:.0f} %",
                _short_time(timings["network_step"]["median"]) if "network_step" in timings else DASH,
                _short_time(ours),
                _short_time(authors) if authors else DASH,
                f"{authors / ours:.1f}×" if authors else DASH,
                _short_time(timings["evaluation"]["median"]),
                bytes_in_words(found["memory"]),
            )
        )
    if not rows:
        return []
    heads: Row = ("method, images per class", "step", "utilisation", "network step", "iteration")
    heads = (*heads, "the authors' iteration", "speed-up", "evaluation of a network", "peak memory")
    return ["## Speed", f"By `dsactl bench`; shapes and mode: {'; '.join(shapes)}.", _table(heads, rows)]


def _iteration(timings: dict[str, Any], ipc: int) -> float:
    """Return the seconds of an outer iteration: T inner steps, and the network's training between them."""
    if "inner_step" not in timings:
        return float(timings["iteration"]["median"])
    inner_steps, epochs = SCHEDULE[ipc]
    steps = (inner_steps - 1) * epochs * ceil(CLASSES * ipc / BATCH)
    return float(inner_steps * timings["inner_step"]["median"] + steps * timings["network_step"]["median"])


def _timings(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if isinstance(value, dict) and "median" in value}


def _broken(records: Sequence[Record]) -> list[str]:
    """Return the last lines of each failed step's output, and the failed tests' names."""
    failed = [record for record in records if record.state == FAILED]
    parts = ["## What broke"] if failed else []
    for record in failed:
        command = " && ".join(shlex.join(_short(command)) for command in record.commands)
        names = [f"- `{name}`" for name in record.results.get("names", [])]
        parts += [f"### {record.title}", f"`{command}`: {record.why}", *filter(None, ["\n".join(names)])]
        parts.append("\n".join(["```text", *record.tail, "```"]))
    return parts


def _short(command: Sequence[str]) -> list[str]:
    """Return a command without the text of a program in it."""
    return ["…" if "\n" in word else word for word in command]


def _short_time(seconds: float) -> str:
    """Return a time of one step with three digits, in ms below a second."""
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"


def _table(heads: Row, rows: Iterable[Row]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
