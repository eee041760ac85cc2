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
_SIZE, _GAP, _FAR = 7, 1.25, 12  # points of the labels' letters; in letters: height of a label, and how far it moves


@dataclass
class _Label:
    """A label of a curve.

    Attributes:
        x, y: of its last mark, beside which it is to be.
        text, grey: its words, and their grey.
        marks: x, y and standard deviation of all marks of the curve.
    """

    x: float
    y: float
    text: str
    grey: str
    marks: list[tuple[float, float, float]]


@dataclass(frozen=True)
class _Box:
    """A place in the figure, in pixels from the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    def moved(self, right: float, up: float) -> "_Box":
        return _Box(self.left + right, self.bottom + up, self.right + right, self.top + up)

    def overlaps(self, other: "_Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top


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
    marks = [(x, mean.mean, mean.std) for x, mean in zip(across, means, strict=True)]
    end = across[-1]
    pool = means[-1].pool_minutes
    if pool is not None:
        end = max(LEAST, means[-1].minutes + pool)
        places = ([across[-1], end], [means[-1].mean] * 2)
        axes.plot(*places, color=grey, linewidth=0.8, linestyle=":", zorder=1)
        axes.plot(end, means[-1].mean, marker=marker, color=grey, markerfacecolor="white", markersize=6)
        marks.append((end, means[-1].mean, 0.0))
    return _Label(end, means[-1].mean, text, grey, marks)


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
    """Write the labels beside their marks, or as near as they cover neither a mark nor another label.

    A thin line leads to a label that is not beside its mark.
    """
    figure, area = axes.figure, axes.bbox
    letter = _SIZE * figure.dpi / 72
    back = axes.transData.inverted()
    taken = [_around(axes, mark, letter) for each in labels for mark in each.marks]
    steps = [letter * step / 4 for step in range(4 * _FAR)]
    shifts = [(right, up) for right in steps[::4] for distance in steps for up in (distance, -distance)]
    shifts.sort(key=lambda shift: abs(shift[1]) + shift[0])
    for each in sorted(labels, key=lambda each: each.y):
        left, middle = map(float, axes.transData.transform((each.x, each.y)))
        wide, tall = 0.62 * letter * len(each.text), _GAP * letter
        beside = _Box(left + letter, middle - tall / 2, left + letter + wide, middle + tall / 2)
        boxes = (beside.moved(*shift) for shift in shifts)
        inside = (box for box in boxes if area.y0 < box.bottom and box.top < area.y1 and box.right < area.x1)
        place = next((box for box in inside if not any(box.overlaps(other) for other in taken)), beside)
        taken.append(place)
        moved = place.left - beside.left + abs(place.top - beside.top) > letter / 2
        axes.annotate(
            each.text,
            (each.x, each.y),
            xytext=tuple(back.transform((place.left, (place.bottom + place.top) / 2))),
            textcoords="data",
            va="center",
            fontsize=_SIZE,
            color=each.grey,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5} if moved else None,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def _around(axes: "Axes", mark: tuple[float, float, float], letter: float) -> _Box:
    """Return the place of a mark, with its standard deviation, in pixels."""
    x, y, deviation = mark
    (across, low), (_, high) = (map(float, axes.transData.transform((x, y + sign * deviation))) for sign in (-1, 1))
    return _Box(across - letter / 2, low - letter / 2, across + letter / 2, high + letter / 2)
