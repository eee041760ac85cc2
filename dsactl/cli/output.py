"""The only place that prints.

Results go to the standard output, everything else to standard error. On a terminal long work shows a live bar; in a
pipe, or with NO_COLOR's spirit in a log, a plain line now and then.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.text import Text

from dsactl.cli.tables import Facts, Table
from dsactl.errors import UsageError

PLAIN_LINE_SECONDS = 10.0


class Output:
    """Where a command's answer and its remarks go.

    Args:
        as_json: answer in compact JSON.
        quiet: answer with identifiers only, one a line; no remarks and no progress.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json, self.quiet = as_json, quiet
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def answer(self, value: Any, identifiers: Iterable[str], human: Sequence[str | Table | Facts | Text]) -> None:
        """The command's result, in the mode that was asked for.

        Args:
            value: for JSON.
            identifiers: for `--quiet`.
            human: lines with rich markup, tables and lists of plain text, and texts with colours of their own.
        """
        if self.as_json:
            sys.stdout.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")
        elif self.quiet:
            sys.stdout.writelines(f"{identifier}\n" for identifier in identifiers)
        else:
            for item in human:
                if isinstance(item, Table | Facts):
                    lines = item.lines(self._limit)
                    if isinstance(item, Table):
                        self._out.print(Text(next(lines), "bold"))
                    sys.stdout.writelines(f"{line}\n" for line in lines)
                else:
                    self._out.print(item)

    @property
    def _limit(self) -> int | None:
        """Columns that the answer must fit into; None for a pipe, unless COLUMNS says so."""
        return self._out.width if self._out.is_terminal or "COLUMNS" in os.environ else None

    def note(self, text: str) -> None:
        """A remark, with rich markup."""
        if not self.quiet:
            self._err.print(text)

    def remark(self, text: str) -> None:
        """A remark of less weight: plain text, which a terminal shows dim and wraps between words."""
        if not self.quiet:
            self._err.print(Text(text, "dim"), soft_wrap=not self._err.is_terminal)

    def error(self, message: str, hint: str = "") -> None:
        """What went wrong and what to do next; printed in every mode."""
        self._err.print(f"[bold red]Error:[/] {escape(message)}")
        if hint:
            self._err.print(f"  {escape(hint)}")

    @property
    def shows_colours(self) -> bool:
        """Whether the answer goes to a terminal with colours."""
        return self._out.is_terminal and not self._out.no_color and self._out.color_system is not None

    @property
    def width(self) -> int:
        """Columns of the terminal; 80 where there is none."""
        return self._out.width

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is taken away.

        Args:
            question: with rich markup.
            yes: it was answered beforehand.

        Raises:
            UsageError: there is nobody to ask.
            typer.Abort: the answer is no.
        """
        if yes:
            return
        if not (sys.stdin.isatty() and self._err.is_terminal):
            raise UsageError("Nothing was done: there is no terminal to ask on.", "Pass --yes to answer beforehand.")
        if not Confirm.ask(question, console=self._err, default=False):
            raise typer.Abort

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator["Bar"]:
        """A bar for work of `total` steps that a block reports with `Bar.update`."""
        if self.quiet:
            yield Bar()
        elif self._err.is_terminal:
            numbers = len(f"{total}/{total} {unit}  12.3 s each  0:00:00  left  0:00:00")
            bar = min(24, max(8, self._err.width - numbers - len(title)))
            room = max(8, self._err.width - numbers - bar)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=bar),
                TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with _TwoLines(*columns, console=self._err) as live:
                yield _LiveBar(live, title if len(title) <= room else f"{title[: room - 1]}…", total)
        else:
            yield _PlainBar(self._err, title, total, unit)


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
    def __init__(self, live: Progress, title: str, total: int) -> None:
        self._live, self._title, self._total, self._rate = live, title, total, _Rate()
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
        self._live.update(
            self._task, total=self._total, completed=int(done), rate=_per_second(self._rate(done)), remark=remark
        )


class _PlainBar(Bar):
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
        left = f", {duration((self._total - done) / rate)} left" if rate > 0 else ""
        tail = f", {remark}" if remark else ""
        line = f"{self._title}: {done:.0f}/{self._total} {self._unit}, {_per_second(rate)}{left}{tail}"
        self._console.print(escape(line))


def _per_second(rate: float) -> str:
    if rate <= 0:
        return "–"
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


def duration(seconds: float) -> str:
    """Seconds in words: "4.2 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


@functools.cache
def bytes_in_words(count: float) -> str:
    """1,234,567 bytes as "1.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def in_words(value: Any) -> str:
    """A JSON value for people: "color crop", "arch convnet, depth 3"; what is None is left out of an object."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {in_words(item)}" for name, item in value.items() if item is not None)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def mean_and_deviation(mean: Any, deviation: Any) -> str:
    """ "88.7 ± 0.6"; "?" for what are no numbers, as a file changed by hand may hold."""
    if not (isinstance(mean, int | float) and isinstance(deviation, int | float)):
        return "?"
    return f"{mean:.1f} ± {deviation:.1f}"


def accuracy(record: Mapping[str, Any]) -> str:
    """Mean and deviation of an evaluation's record; one network has no deviation."""
    mean, n = record.get("mean"), record.get("n")
    if n == 1 and isinstance(mean, int | float):
        return f"{mean:.1f}"
    return mean_and_deviation(mean, record.get("std"))
