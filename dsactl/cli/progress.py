"""What shows how far long work is: a live bar on a terminal, else a plain line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from dsactl.cli.formatting import duration

PLAIN_LINE_SECONDS = 10.0


@contextmanager
def live(console: Console, title: str, total: int, unit: str) -> Iterator["Bar"]:
    """A bar that moves, as of `Output.progress`."""
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
    """A bar with its remark on a line below, where it does not push the times off a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """What is drawn: for each task a line, and a line below it."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(f"  {task.fields['remark']}", "dim", no_wrap=True, overflow="ellipsis")


class Bar:
    """Shows how far work is; this one shows nothing."""

    def update(self, done: float, remark: str = "", *, total: int | None = None) -> None:
        """Work is at `done` steps, of `total` if that is known only now; `remark` says what it does now."""


class _Rate:
    """Steps per second since the first report, which may be of work that was done earlier."""

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
            # Made with what was done earlier, so that it does not count as speed.
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
    """A line now and then.

    Args:
        console: where it goes.
        title, total, unit: as of `Output.progress`.
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
        said = (f"{done:.0f}/{self._total} {self._unit}", _per_second(rate, self._unit), left, remark)
        self._console.print(escape(f"{self._title}: {', '.join(filter(None, said))}"))


def _per_second(rate: float, unit: str) -> str:
    """The speed in words; nothing for hundredths of something, which say nothing by themselves."""
    if unit == "percent":
        return ""
    if rate <= 0:
        return "–"
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
