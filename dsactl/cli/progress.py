"""Progress of long work: a live bar on a terminal, otherwise a plain line every few seconds."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import rich.progress
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from dsactl.engine.progress import NO_FIGURES, Progress, in_words
from dsactl.text.formatting import duration

PLAIN_LINE_SECONDS = 10.0
PATIENCE_SECONDS = 2.0
PERCENT = "percent"
"""The unit of bars that show the share of the work."""


class Bar(Progress):
    """A meter that prints failures and remarks, and shows no progress.

    Args:
        print_error: takes a message and a hint.
        print_remark: takes a text.
    """

    def __init__(self, print_error: Callable[[str, str], None], print_remark: Callable[[str], None]) -> None:
        self._print_error, self._print_remark = print_error, print_remark

    def fail(self, message: str, hint: str = "") -> None:
        self._print_error(message, hint)

    def remark(self, text: str) -> None:
        self._print_remark(text)


class _VisibleBar(Bar):
    """A meter that shows the progress, in its unit.

    Args:
        bar: prints failures and remarks.
        title, total, unit: the arguments of `Output.progress`.
    """

    def __init__(self, bar: Bar, title: str, total: float, unit: str) -> None:
        super().__init__(bar.fail, bar.remark)
        self._title, self._total, self._unit, self._rate = title, total, unit, _Rate()

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        if self._unit == PERCENT:
            done, total = (100 * done / total if total else 0.0), 100
        self._total = total
        self._show(done, in_words(doing, figures))

    def _show(self, done: float, remark: str) -> None:
        raise NotImplementedError


class LateBar(Progress):
    """A meter that opens a bar with the first update after `PATIENCE_SECONDS`.

    Args:
        show: opens the bar.
    """

    def __init__(self, show: Callable[[], Progress]) -> None:
        self._show, self._began = show, time.monotonic()
        self._bar: Progress | None = None

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del doing  # the bar says it
        if self._bar is None and time.monotonic() - self._began >= PATIENCE_SECONDS:
            self._bar = self._show()
        if self._bar is not None:
            self._bar.update(done, total, "", figures)


@contextmanager
def live(bar: Bar, console: Console, title: str, total: float, unit: str) -> Iterator[Bar]:
    """Show a live bar, with the arguments of `Output.progress`; failures and remarks go above it."""
    numbers = len(f"{total}/{total} {unit}  12.3 s each  0:00:00  left  0:00:00")
    width = min(24, max(8, console.width - numbers - len(title)))
    room = max(8, console.width - numbers - width)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=width),
        TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with _TwoLines(*columns, console=console) as shown:
        yield _LiveBar(bar, shown, title if len(title) <= room else f"{title[: room - 1]}…", total, unit)


class _TwoLines(rich.progress.Progress):
    """A bar with its remark on the line below, so that the times stay visible on a narrow terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """Return two lines per task: the bar and the remark."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(f"  {task.fields['remark']}", "dim", no_wrap=True, overflow="ellipsis")


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


class _LiveBar(_VisibleBar):
    def __init__(self, bar: Bar, live: rich.progress.Progress, title: str, total: float, unit: str) -> None:
        super().__init__(bar, title, total, unit)
        self._live = live
        self._task: TaskID | None = None

    def _show(self, done: float, remark: str) -> None:
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


class PlainBar(_VisibleBar):
    """Progress as a plain line every few seconds, and one at the end.

    Args:
        bar: prints failures and remarks.
        console: destination.
        title, total, unit: the arguments of `Output.progress`.
    """

    def __init__(self, bar: Bar, console: Console, title: str, total: float, unit: str) -> None:
        super().__init__(bar, title, total, unit)
        self._console, self._printed = console, 0.0
        self._state: tuple[float, str] | None = None

    def _show(self, done: float, remark: str) -> None:
        now = time.monotonic()
        rate = self._rate(done)
        self._state = (done, remark)
        if now - self._printed < PLAIN_LINE_SECONDS or done >= self._total:
            return
        self._printed = now
        left = f"{duration((self._total - done) / rate)} left" if rate > 0 else ""
        self._print(done, _per_second(rate, self._unit), left, remark)

    def end(self) -> None:
        """Print the line of finished work, whose last remark comes after the last step."""
        if self._state is not None and self._state[0] >= self._total:
            self._print(*self._state)

    def _print(self, done: float, *words: str) -> None:
        parts = (f"{int(done)}/{self._total:.0f} {self._unit}", *words)
        self._console.print(escape(f"{self._title}: {', '.join(filter(None, parts))}"))


def _per_second(rate: float, unit: str) -> str:
    """Format the speed; empty if there is none, and for percentages, whose speed means nothing."""
    if unit == PERCENT or rate <= 0:
        return ""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
