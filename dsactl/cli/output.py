"""The only place that prints.

Results go to the standard output, everything else to standard error. On a terminal long work shows a live bar; in a
pipe, or with NO_COLOR's spirit in a log, a plain line now and then.
"""

import functools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from dsactl.errors import UsageError

PLAIN_LINE_SECONDS = 10.0
MANY_ROWS = 200  # that are laid out without asking how wide the terminal is: a hundred times faster


@dataclass
class Rows:
    """A table of plain text that may be long.

    Attributes:
        columns: their heads.
        right: those that are aligned to the right.
        rows: the cells.
    """

    columns: Sequence[str]
    right: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)

    def folded(self) -> Table:
        """As a table that fits the terminal."""
        made = table(*self.columns, right=self.right)
        for row in self.rows:
            made.add_row(*map(escape, row))
        return made

    def lines(self) -> Iterator[str]:
        """As lines of whatever width."""
        columns = zip(self.columns, *self.rows, strict=True)
        for cells in zip(*(_aligned(texts, texts[0] in self.right) for texts in columns), strict=True):
            yield "  ".join(cells).rstrip()


def _aligned(texts: Sequence[str], to_the_right: bool) -> list[str]:
    """The cells of a column, filled with spaces to one width."""
    if all(cell_len(letter) == 1 for letter in set().union(*texts)):
        width = max(map(len, texts))
        return [text.rjust(width) if to_the_right else text.ljust(width) for text in texts]
    widths = list(map(cell_len, texts))
    spaces = [" " * (max(widths) - width) for width in widths]
    return [space + text if to_the_right else text + space for text, space in zip(texts, spaces, strict=True)]


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

    def answer(self, value: Any, identifiers: Iterable[str], human: Sequence[str | Table | Rows | Text]) -> None:
        """The command's result, in the mode that was asked for.

        Args:
            value: for JSON.
            identifiers: for `--quiet`.
            human: lines with rich markup, tables, and texts with colours of their own.
        """
        if self.as_json:
            sys.stdout.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")
        elif self.quiet:
            sys.stdout.writelines(f"{identifier}\n" for identifier in identifiers)
        else:
            for item in human:
                if isinstance(item, Rows) and len(item.rows) > MANY_ROWS:
                    sys.stdout.writelines(f"{line}\n" for line in item.lines())
                elif isinstance(item, Table | Rows):
                    item = item.folded() if isinstance(item, Rows) else item
                    Console(highlight=False, emoji=False, width=None if self._out.is_terminal else 200).print(item)
                else:
                    self._out.print(item)

    def note(self, text: str) -> None:
        """A remark, with rich markup."""
        if not self.quiet:
            self._err.print(text)

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
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}} {unit}"),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("[dim]{task.fields[remark]}[/]"),
            )
            with Progress(*columns, console=self._err) as live:
                yield _LiveBar(live, title, total)
        else:
            yield _PlainBar(self._err, title, total, unit)


class Bar:
    """Shows how far work is; this one shows nothing."""

    def update(self, done: float, remark: str = "") -> None:
        """Work is at `done` steps; `remark` says what it does now."""


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

    def update(self, done: float, remark: str = "") -> None:
        if self._task is None:
            # Made with what was done earlier, so that it does not count as speed.
            self._task = self._live.add_task(
                escape(self._title),
                total=self._total,
                completed=int(done),
                rate="",
                remark=escape(remark),
            )
        self._live.update(self._task, completed=int(done), rate=_per_second(self._rate(done)), remark=escape(remark))


class _PlainBar(Bar):
    def __init__(self, console: Console, title: str, total: int, unit: str) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._rate, self._last = _Rate(), 0.0

    def update(self, done: float, remark: str = "") -> None:
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


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table; the columns named in `right` are aligned to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def mean_and_deviation(mean: Any, deviation: Any) -> str:
    """ "88.7 ± 0.6"; "?" for what are no numbers, as a file changed by hand may hold."""
    if not (isinstance(mean, int | float) and isinstance(deviation, int | float)):
        return "?"
    return f"{mean:.1f} ± {deviation:.1f}"


def accuracy(record: Mapping[str, Any]) -> str:
    """Mean and deviation of an evaluation's record."""
    return mean_and_deviation(record.get("mean"), record.get("std"))
