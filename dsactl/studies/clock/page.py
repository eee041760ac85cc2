"""The page of the study: Markdown with a plot and a table for each dataset and number of images per class."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsactl.studies.clock.curves import MINUTES
from dsactl.studies.clock.plot import over_minutes
from dsactl.studies.clock.points import Point, Whole, label, series_of
from dsactl.text.formatting import duration, many
from dsactl.text.tables import Table

TITLE = "Accuracy by the clock"
_HEADS = ("set", "time", "steps", "experts", "accuracy, %", "n", "sets", "protocol")
_RIGHT = ("time", "steps", "experts", "accuracy, %", "n", "sets")
_OPTIONAL = ("arch", "protocol", "epochs", "image_size")
"""Settings of the study that are None by default, and then the methods' and the protocol's own."""
_ABOUT = (
    "Test accuracy over the time that making a set took, with all sets of a plot on the same machine. Each set is "
    "used to train networks from scratch, each tested once, at the end. A row pools the networks of all its sets: "
    "mean ± population standard deviation over n networks.",
    "**Time** is what making one set takes: a run's steps at the speed that a few of them had before, so that what "
    "else the machine did during the run does not count; what it did while these few were timed does. For random, "
    "herding and soft labels it is the mean over the sets of what they took. Not in it: loading the dataset, "
    "compiling, timing the steps, and the evaluation. "
    "**Experts** is the time of training the pool of networks that `dance` and the soft labels use; the sets of a "
    "dataset share it. In the plots, an empty marker is at the time with the experts.",
    "The sets of a curve are those of one run, after the numbers of steps that fit in {minutes} by the time of a few "
    "steps, which was measured first. A run ends at its method's default number of steps. "
    "F is the formation: with F = 2, each stored image holds four to train on. `random + soft` are random images with "
    "one soft label each, from an expert.",
    "Networks are trained by the protocol that a method's sets are made for, unless another one is named below. It is "
    "in the last column, and in the plot where there are several: part of the difference of two methods may be that "
    "of their protocols.",
    "{changed} of the methods and of training the networks are the defaults, except for the experts where they are "
    "others; none was chosen by these results. Not measured: other settings and networks, methods whose settings "
    "depend on when they end, such as `dd`, and longer runs.",
)


def page(points: Sequence[Point], whole: Mapping[str, Whole], plan: Mapping[str, Any], left: int) -> str:
    """Return the page.

    Args:
        points: sorted.
        whole: of whole training splits, by dataset.
        plan: the settings of the study.
        left: number of points that the current call has not finished.
    """
    state = f"{many(left, 'point')} of the last call {'is' if left == 1 else 'are'} not finished." if left else ""
    made_in = "; ".join(dict.fromkeys(point.made_in.partition(";")[0] for point in points))
    tested_in = "; ".join(dict.fromkeys(f"{point.program}, {point.device}" for point in points))
    lines = [f"# {TITLE}", "", 'Made by `dsactl.reproduce("clock")`.', ""]
    words = {
        "minutes": _minutes(points),
        "changed": _changed(plan),
    }
    lines += [line for text in _ABOUT for line in (text.format(**words), "")]
    pools = dict.fromkeys(_pool(point) for point in points if point.pool)
    lines += [f"Experts: {'; '.join(pools)}.", ""] if pools else []
    lines += [f"Seed {plan['seed']}.", ""]
    if points:
        lines += [f"Sets made with {made_in}. Networks trained with {tested_in}.", ""]
    lines += [state, ""] if state else []
    for (dataset, ipc), several in _groups(points):
        caption = _title(dataset, ipc)
        lines += [f"## {caption}", "", f"![{caption}]({picture_name(dataset, ipc)})", ""]
        lines += [f"Machine: {several[0].machine}.", ""]
        lines += [*_markdown(several, whole.get(dataset)), ""]
    return "\n".join(lines)


def _minutes(points: Sequence[Point]) -> str:
    """Return the times at which sets were taken: "1, 2 and 5 minutes"; those of the study if there are none yet."""
    of_curves = dict[tuple[str, int, str, int], set[int]]()
    for point in points:
        if point.minutes:
            of_curves.setdefault((*point.plot, point.method, point.formation), set()).add(point.minutes)
    every = set[int]().union(*of_curves.values())
    *first, last = sorted(every) or MINUTES
    some = "" if all(each == every for each in of_curves.values()) else ", or in some of these,"
    return " and ".join(filter(None, (", ".join(map(str, first)), many(last, "minute")))) + some


def _pool(point: Point) -> str:
    """Return the experts of a point: "`name:1`, 5 networks of 20 epochs, batch 256"."""
    made = f"`{point.pool}`, {many(point.pool_networks, 'network')} of {many(point.pool_epochs, 'epoch')}"
    return f"{made}, {point.pool_settings}" if point.pool_settings else made


def _changed(plan: Mapping[str, Any]) -> str:
    """Return a sentence with the settings that are not the defaults, if any, and the subject of the next one."""
    changed = [f"`{name}={plan[name]!r}`" for name in _OPTIONAL if plan.get(name) is not None]
    return f"Not the default: {', '.join(changed)}. All other settings" if changed else "All settings"


def pictures(points: Sequence[Point], whole: Mapping[str, Whole]) -> dict[str, bytes]:
    """Return the plots of sorted points, by file name."""
    return {
        picture_name(*group): over_minutes(series_of(several), whole.get(group[0]), title=_title(*group))
        for group, several in _groups(points)
    }


def picture_name(dataset: str, ipc: int) -> str:
    """Return the file name of a plot."""
    return f"clock-{re.sub(r'[^A-Za-z0-9._-]+', '-', dataset)}-ipc{ipc}.png"


def tables(points: Sequence[Point]) -> Iterator[tuple[str, Table]]:
    """Yield the tables of sorted points, each with its heading."""
    for group, several in _groups(points):
        shown = Table(_HEADS, right=_RIGHT, optional=("sets", "protocol"))
        for row in _rows(several):
            shown.add(*row)
        yield _title(*group), shown


def _groups(points: Sequence[Point]) -> Iterator[tuple[tuple[str, int], list[Point]]]:
    for group, several in itertools.groupby(points, lambda point: point.plot):
        yield group, list(several)


def _title(dataset: str, ipc: int) -> str:
    return f"{dataset}, {many(ipc, 'image')} per class"


def _rows(points: Sequence[Point]) -> Iterator[list[str]]:
    """Yield the rows of one table."""
    for series, means in series_of(points).items():
        for mean in means:
            first, pool = mean.points[0], mean.pool_minutes
            experts = "–" if not first.pool else "unknown" if pool is None else duration(60 * pool)
            yield [
                label(series),
                duration(60 * mean.minutes),
                f"{first.steps:,}" if first.steps else "–",
                experts,
                mean.in_words,
                str(mean.n),
                str(len(mean.points)),
                first.protocol,
            ]


def _markdown(points: Sequence[Point], whole: Whole | None) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| " + " | ".join(_HEADS) + " |"
    yield "|" + "".join(" ---: |" if head in _RIGHT else " --- |" for head in _HEADS)
    for row in _rows(points):
        yield "| " + " | ".join(row) + " |"
    if whole is not None:
        accuracy = f"{whole.mean:.1f} ± {whole.std:.1f}"
        name = f"all training images, {many(whole.epochs, 'epoch')}"
        yield f"| {name} | – | – | – | {accuracy} | {whole.n} | – | {whole.protocol} |"
