"""The figures of a run, step by step, as curves: what the run's log of events keeps after it is finished."""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dsactl.runs.events import EventLog

Point = tuple[float, float]

WIDTH, HEIGHT = 480, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 34
"""Sizes of a chart, and of its margins, in its own units."""

_MOST_POINTS = 400
_LARGEST = 1e30  # values beyond it are no figures
_LOG_FROM = 30.0  # ratio of the largest and the smallest value from which an axis is logarithmic


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its place and text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        label: of the set.
        style: number of the run, from 0, the same in all charts of a page.
        points: "x,y x,y …" in units of the chart.
        dots: the same as numbers, if they are few; empty for a long curve.
    """

    label: str
    style: int
    points: str
    dots: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """A figure over the steps of one or several runs.

    Attributes:
        name: of the figure.
        summary: first and last value of each run, for those who do not see the curve.
        lines: one for each run that has the figure.
        across, up: ticks of the axes.
        scales: "log" for each logarithmic axis, across and up; otherwise "".
    """

    name: str
    summary: str
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    scales: tuple[str, str]


def read_events(path: Path) -> dict[str, list[Point]]:
    """Return the values of each figure by step, from a run's whole log; none if it cannot be read."""
    log = EventLog(path, end=None)
    with contextlib.suppress(OSError):
        log.read()
    found: dict[str, list[Point]] = {}
    for event in log.events:
        for name, value in event.figures.items():
            if 0 < event.step < _LARGEST and abs(value) < _LARGEST:
                found.setdefault(name, []).append((event.step, value))
    return found


def charts(runs: Mapping[str, Mapping[str, Sequence[Point]]]) -> list[Chart]:
    """Return a chart for each figure.

    Args:
        runs: the figures of each run, by the label of its set.
    """
    names = dict.fromkeys(name for figures in runs.values() for name in figures)
    styles = {label: number for number, label in enumerate(runs)}
    return [
        _chart(name, {label: figures[name] for label, figures in runs.items() if name in figures}, styles)
        for name in names
    ]


def _chart(name: str, runs: Mapping[str, Sequence[Point]], styles: Mapping[str, int]) -> Chart:
    thinned = {label: _thinned(points) for label, points in runs.items()}
    across = _Axis.over([x for points in thinned.values() for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis.over([y for points in thinned.values() for _, y in points], HEIGHT - BOTTOM, TOP)
    lines = []
    for label, points in thinned.items():
        placed = [(across.place(x), up.place(y)) for x, y in points]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        lines.append(Line(label, styles[label], text, tuple(placed) if len(placed) <= 40 else ()))
    words = name.replace("_", " ")
    summary = "; ".join(
        f"{label}: {points[0][1]:.4g} at step {points[0][0]:.0f}, {points[-1][1]:.4g} at step {points[-1][0]:.0f}"
        for label, points in thinned.items()
    )
    scales = ("log" if across.log else "", "log" if up.log else "")
    return Chart(words, summary, tuple(lines), across.ticks(), up.ticks(), scales)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most so many points, with the first and the last."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    places = dict.fromkeys(round(i * (len(points) - 1) / (_MOST_POINTS - 1)) for i in range(_MOST_POINTS))
    return [points[place] for place in places]


@dataclass(frozen=True)
class _Axis:
    """An axis from one value to another, placed from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float) -> "_Axis":
        low, high = min(values), max(values)
        log = low > 0 and high / low >= _LOG_FROM
        if not log:
            margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
            low, high = (low - margin, high + margin) if begin > end else (low, high)  # not across
            if low == high:
                low, high = low - 1, high + 1
        return cls(low, high, begin, end, log)

    def place(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> tuple[Tick, ...]:
        return tuple(Tick(self.place(value), _number(value)) for value in self._values())

    def _values(self) -> list[float]:
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 3 else (1,)
            every = -(-len(decades) // 6)
            values = [step * 10.0**decade for decade in decades[::every] for step in steps]
        else:
            step = _round_step((self.high - self.low) / 4)
            first = math.ceil(self.low / step)
            values = [
                step * number for number in itertools.takewhile(lambda n: step * n <= self.high, itertools.count(first))
            ]
        return [value for value in values if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]


def _round_step(rough: float) -> float:
    """Return the smallest of 1, 2, 5, 10, … times a power of ten that is not below a step."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.6g}"
