"""The only place that prints.

Results go to the standard output, everything else to standard error. On a terminal long work shows a live bar; in a
pipe, or with NO_COLOR's spirit in a log, a plain line now and then.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from dsactl.cli.flags import translate
from dsactl.cli.tables import Facts, Table
from dsactl.errors import UsageError

if TYPE_CHECKING:
    from dsactl.cli.progress import Bar


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
                    _print(self._out, item)

    @property
    def _limit(self) -> int | None:
        """Columns that the answer must fit into; None for a pipe, unless COLUMNS says so."""
        return self._out.width if self._out.is_terminal or "COLUMNS" in os.environ else None

    def note(self, text: str) -> None:
        """A remark, with rich markup."""
        if not self.quiet:
            _print(self._err, text)

    def remark(self, text: str) -> None:
        """A remark of less weight: plain text, which a terminal shows dim; Python notation is translated."""
        if not self.quiet:
            _print(self._err, Text(translate(text), "dim"))

    def error(self, message: str, hint: str = "", *, verbatim: bool = False) -> None:
        """Print what went wrong and what to do next, in every mode.

        Args:
            message, hint: of one of our errors, whose Python notation is translated into flags and commands.
            verbatim: the text is another library's, and is printed as it is.
        """
        if not verbatim:
            message, hint = translate(message), translate(hint)
        _print(self._err, f"[bold red]Error:[/] {escape(message)}")
        if hint:
            _print(self._err, f"  {escape(hint)}")

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
        from rich.prompt import Confirm

        if not Confirm.ask(question, console=self._err, default=False):
            raise typer.Abort

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator["Bar"]:
        """A bar for work of `total` steps that a block reports with `Bar.update`."""
        from dsactl.cli import progress  # here, where it is needed, for it takes its time

        if self.quiet:
            yield progress.Bar()
        elif self._err.is_terminal:
            with progress.live(self._err, title, total, unit) as bar:
                yield bar
        else:
            yield progress.PlainBar(self._err, title, total, unit)


def _print(console: Console, text: str | Text) -> None:
    """Print lines, on a terminal wrapped between words; names and paths that are longer than it stay whole."""
    said = text if isinstance(text, Text) else Text.from_markup(text, emoji=False)
    for line in said.split("\n", allow_blank=True):
        for part in _wrapped(line, console.width) if console.is_terminal else [line]:
            console.print(part)


def _wrapped(line: Text, width: int) -> Iterator[Text]:
    """Parts of a line, the later ones as far to the right as the first word is."""
    letters = line.plain
    indent, begin = len(letters) - len(letters.lstrip()), 0
    for word in re.finditer(r"\S+", letters):
        room = width - (indent if begin else 0)
        if word.start() > max(begin, indent) and cell_len(letters[begin : word.end()]) > room:
            yield _part(line, begin, word.start(), indent)
            begin = word.start()
    yield _part(line, begin, len(letters), indent)


def _part(line: Text, begin: int, end: int, indent: int) -> Text:
    part = line[begin:end]
    if end < len(line):
        part.rstrip()
    return Text(" " * indent).append_text(part) if begin else part
