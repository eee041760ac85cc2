"""Progress of long work: a live bar on a terminal, otherwise a plain line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from dsactl.cli.formatting import duration

PLAIN_LINE_SECONDS = 10.0
PATIENCE_SECONDS = 2.0


def patient(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Return a function that passes its calls on, except those of the first two seconds."""
    began = time.monotonic()

    def call(done: int, total: int) -> None:
        if time.monotonic() - began >= PATIENCE_SECONDS:
            show(done, total)

    return call


@contextmanager
def live(console: Console, title: str, total: int, unit: str) -> Iterator["Bar"]:
    """Show a live bar, with the arguments of `Output.progress`."""
    numbers = len(f"{total}/{total} {unit}  12.3 s each  0:00:00  left  0:00:00")
    bar = min(24, max(8, console.width - numbers - len(title)))
    room = max(8, console.width - numbers - bar)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=bar),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with _TwoLines(*columns, console=console) as shown:
        yield _LiveBar(shown, title if len(title) <= room else f"{title[: room - 1]}…", total, unit)


class _TwoLines(Progress):
    """A bar with its remark on the line below, so that the times stay visible on a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Return two lines per task: the bar and the remark."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(f"  {task.fields['remark']}", "dim", no_wrap=True, overflow="ellipsis")


class Bar:
    """Interface of progress bars; this one shows nothing."""

    def update(self, done: float, remark: str = "", *, total: int | None = None) -> None:
        """Show the progress.

        Args:
            done: number of finished steps.
            remark: description of the current step.
            total: new total number of steps, if it has changed.
        """


class _Rate:
    """Steps per second since the first report; a resumed run does not start at 0."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def __call__(self, done: float) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done)
        began, first = self._began
        return (done - first) / (now - began) if now > began else 0.0


class _LiveBar(Bar):
    def __init__(self, live: Progress, title: str, total: int, unit: str) -> None:
        self._live, self._title, self._total, self._unit, self._rate = live, title, total, unit, _Rate()
        self._task: TaskID | None = None

    def update(self, done: float, remark: str = "", *, total: int | None = None) -> None:
        self._total = total or self._total
        if self._task is None:
            # Created with the steps of an earlier run, so that they do not count as speed.
            self._task = self._live.add_task(
                escape(self._title),
                total=self._total,
                completed=int(done),
                rate="",
                remark=remark,
            )
        rate = _per_second(self._rate(done), self._unit)
        self._live.update(self._task, total=self._total, completed=int(done), rate=rate, remark=remark)


class PlainBar(Bar):
    """Progress as a plain line every few seconds.

    Args:
        console: destination.
        title, total, unit: the arguments of `Output.progress`.
    """

    def __init__(self, console: Console, title: str, total: int, unit: str) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._rate, self._last = _Rate(), 0.0

    def update(self, done: float, remark: str = "", *, total: int | None = None) -> None:
        self._total = total or self._total
        now = time.monotonic()
        rate = self._rate(done)
        if now - self._last < PLAIN_LINE_SECONDS and done < self._total:
            return
        self._last = now
        left = f"{duration((self._total - done) / rate)} left" if rate > 0 else ""
        parts = (f"{done:.0f}/{self._total} {self._unit}", _per_second(rate, self._unit), left, remark)
        self._console.print(escape(f"{self._title}: {', '.join(filter(None, parts))}"))


def _per_second(rate: float, unit: str) -> str:
    """Format the speed; empty for percentages, whose speed means nothing."""
    if unit == "percent":
        return ""
    if rate <= 0:
        return "–"
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
