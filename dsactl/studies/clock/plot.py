"""The plot of accuracy over minutes, readable in greyscale and in print."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsactl.studies.clock.curves import METHODS
from dsactl.studies.clock.points import Mean, Series, Whole, label
from dsactl.studies.plots import new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 0.1
"""Minutes at the left end of the axis, where faster sets are drawn."""
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3000)
_MARKERS = dict(zip(METHODS, "xPsoD^", strict=True))
_GREYS = dict(zip(METHODS, ("0.45", "0.3", "0.45", "0.0", "0.35", "0.0"), strict=True))
_DASHES = {1: "-", 2: "--"}
_SIZE, _GAP = 7, 1.25  # points of the labels' letters; height of a label's line, in letters


@dataclass
class _Label:
    """A label at the right of its mark: where the mark is, and its text."""

    x: float
    y: float
    text: str
    grey: str


def over_minutes(series: Mapping[Series, Sequence[Mean]], whole: Whole | None, *, title: str) -> bytes:
    """Draw accuracy over the minutes that making a set took as a PNG, with a logarithmic axis of time.

    A curve that used experts ends in an empty marker, at the time that includes training them. The axis names the
    protocol of most curves if there are several, and a label another one.

    Args:
        series: of one dataset and number of images per class.
        whole: of networks that were trained on the whole training split, drawn as a horizontal line; None for none.
        title: the title.
    """
    figure = new_figure(7.0, 4.6)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    labels, last = list[_Label](), LEAST
    protocols = Counter(means[0].points[0].protocol for means in series.values())
    (usual, _), *others = protocols.most_common()
    for (method, formation), means in series.items():
        own = means[0].points[0].protocol
        text = label((method, formation)) + ("" if own == usual else f", by {own}")
        labels.append(_draw(axes, (method, formation), means, text))
        last = max(last, labels[-1].x, *(mean.minutes for mean in means))
    if whole is not None:
        _draw_whole(axes, whole, [mean.mean for means in series.values() for mean in means])
    end = last * max(2.0, (last / LEAST) ** 0.3)
    axes.set_xlim(LEAST / 1.25, end)
    ticks = [tick for tick in _TICKS if tick <= 2 * last]
    axes.set_xticks(ticks, [f"≤ {tick:g}" if tick == LEAST else f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    pooled = any(mean.pool_minutes is not None for means in series.values() for mean in means)
    axes.set_xlabel(f"minutes of making a set{' (empty markers: with training the experts)' if pooled else ''}")
    axes.set_ylabel("test accuracy, %" + (f" (by {usual} if not named)" if others else ""))
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.margins(y=0.06)
    figure.canvas.draw()  # places the axes, by which the labels are kept apart
    _write(axes, labels)
    return to_png(figure)


def _draw(axes: "Axes", series: Series, means: Sequence[Mean], text: str) -> _Label:
    """Draw a curve, and return its label, of this text."""
    method, formation = series
    grey, marker = _GREYS[method], _MARKERS[method]
    across = [max(LEAST, mean.minutes) for mean in means]
    axes.errorbar(
        across,
        [mean.mean for mean in means],
        [mean.std for mean in means],
        color=grey,
        marker=marker,
        markersize=4.5,
        linestyle=_DASHES.get(formation, "-."),
        linewidth=1.2,
        elinewidth=0.6,
        capsize=1.5,
    )
    end = across[-1]
    pool = means[-1].pool_minutes
    if pool is not None:
        end = max(LEAST, means[-1].minutes + pool)
        places = ([across[-1], end], [means[-1].mean] * 2)
        axes.plot(*places, color=grey, linewidth=0.8, linestyle=":", zorder=1)
        axes.plot(end, means[-1].mean, marker=marker, color=grey, markerfacecolor="white", markersize=6)
    return _Label(end, means[-1].mean, text, grey)


def _draw_whole(axes: "Axes", whole: Whole, others: Sequence[float]) -> None:
    """Draw a line at the accuracy of all training images; only state it where it would take half of the plot."""
    words = f"all training images: {whole.mean:.1f} (n = {whole.n})"
    how: dict[str, Any] = {"fontsize": _SIZE, "color": "0.35"}
    if whole.mean - max(others) <= max(others) - min(others):
        axes.axhline(whole.mean, color="0.6", linewidth=1, linestyle=":")
        axes.annotate(words, (LEAST, whole.mean), xytext=(2, 3), textcoords="offset points", **how)
    else:
        axes.text(0.02, 0.97, f"{words}, above this plot", transform=axes.transAxes, va="top", **how)


def _write(axes: "Axes", labels: Sequence[_Label]) -> None:
    """Write the labels beside their marks, each moved up until it covers no other; a thin line leads to a moved one."""
    figure = axes.figure
    letter = _SIZE * figure.dpi / 72
    back = axes.transData.inverted()
    taken = list[tuple[float, float, float]]()
    for each in sorted(labels, key=lambda each: each.y):
        left, place = map(float, axes.transData.transform((each.x, each.y)))
        left, right, up = left + letter, left + letter * (1 + 0.62 * len(each.text)), place
        while over := [
            row for first, after, row in taken if first < right and left < after and _covers(row, up, letter)
        ]:
            up = max(over) + _GAP * letter
        taken.append((left, right, up))
        moved = up - place > letter / 4
        axes.annotate(
            each.text,
            (each.x, each.y),
            xytext=tuple(back.transform((left, up))),
            textcoords="data",
            va="center",
            fontsize=_SIZE,
            color=each.grey,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5} if moved else None,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def _covers(row: float, other: float, letter: float) -> bool:
    return abs(row - other) < _GAP * letter * 0.99
