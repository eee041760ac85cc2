"""All output of the command line.

Results go to standard output, everything else to standard error. Progress is a live bar on a terminal that has the
letters for it, and a plain line every few seconds elsewhere.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from dsactl.cli.flags import translate
from dsactl.cli.streams import printable
from dsactl.errors import UsageError
from dsactl.text.tables import Facts, Table

if TYPE_CHECKING:
    from dsactl.cli.progress import Bar
    from dsactl.engine.progress import Progress


class Output:
    """Printer of a command's answer, remarks, errors and progress; for commands a group of two options.

    Args:
        as_json: print the answer as compact JSON.
        quiet: print only identifiers, one per line; no remarks and no progress.
    """

    def __init__(
        self,
        *,
        as_json: Annotated[
            bool, typer.Option("--json", help="Output as compact JSON.", rich_help_panel="Output")
        ] = False,
        quiet: Annotated[
            bool, typer.Option("--quiet", "-q", help="Identifiers only, one per line.", rich_help_panel="Output")
        ] = False,
    ) -> None:
        self.as_json, self.quiet = as_json, quiet
        if quiet:
            os.environ["TQDM_DISABLE"] = "1"  # bars of downloads
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

    def answer(self, value: Any, identifiers: Iterable[str], human: Sequence[str | Table | Facts | Text]) -> None:
        """Print the command's result in the chosen mode.

        Args:
            value: result for `--json`.
            identifiers: result for `--quiet`.
            human: result otherwise: lines with rich markup, plain tables and lists, and coloured texts.
        """
        if self.as_json:
            sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
        elif self.quiet:
            sys.stdout.writelines(f"{identifier}\n" for identifier in identifiers)
        else:
            for item in human:
                if isinstance(item, Table | Facts):
                    lines = map(printable, item.lines(self._limit))
                    if isinstance(item, Table):
                        self._out.print(Text(next(lines), "bold"))
                    sys.stdout.writelines(f"{line}\n" for line in lines)
                else:
                    _print(self._out, item)

    @property
    def _limit(self) -> int | None:
        """Maximum width of the answer in columns; None for a pipe, unless COLUMNS is set."""
        return self._out.width if sys.stdout.isatty() or "COLUMNS" in os.environ else None

    def note(self, text: str) -> None:
        """Print a remark with rich markup."""
        if not self.quiet:
            _print(self._err, text)

    def remark(self, text: str) -> None:
        """Print a minor remark: plain text, dim on a terminal, with Python notation translated."""
        if not self.quiet:
            _print(self._err, f"[dim]{escape(translate(text))}[/]")

    def error(self, message: str, hint: str = "", *, verbatim: bool = False) -> None:
        """Print an error and its hint, in every mode.

        Args:
            message: text of the error; Python notation is translated into flags and commands.
            hint: what to do next, translated likewise.
            verbatim: print the text unchanged, as it comes from another library.
        """
        if not verbatim:
            message, hint = translate(message), translate(hint)
            message, hint = printable(message), printable(hint)
        _print(self._err, f"[bold red]Error:[/] {escape(message)}")
        if hint:
            _print(self._err, f"  {escape(hint)}")

    @property
    def has_colours(self) -> bool:
        """Whether the answer may have colours."""
        return not self._out.no_color and self._out.color_system is not None

    @property
    def is_terminal(self) -> bool:
        """Whether the answer goes to a terminal."""
        return sys.stdout.isatty()

    @property
    def width(self) -> int:
        """Width of the terminal in columns; 80 if there is none."""
        return self._out.width

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask for confirmation before something is removed.

        Args:
            question: text with rich markup.
            yes: skip the question.

        Raises:
            UsageError: there is no terminal to ask on.
            typer.Abort: the answer is no.
        """
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise UsageError("Nothing was removed: there is no terminal for the confirmation.", "Confirm with --yes.")
        from rich.prompt import Confirm

        if not Confirm.ask(question, console=self._err, default=False):
            raise typer.Abort

    @contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator["Bar"]:
        """Show a progress bar while the block uses it as a meter.

        Args:
            title: what is done.
            total: number of steps, as far as it is known.
            unit: of the steps, in the plural; "percent" shows the share of the work.
        """
        from dsactl.cli import progress  # not at the top, because it is slow to import

        bar, title = progress.Bar(self.error, self.remark), printable(title)
        if self.quiet:
            yield bar
        elif sys.stderr.isatty() and self._err.is_interactive and self._err.encoding.startswith("utf"):
            with progress.live(bar, self._err, title, total, unit) as visible:
                yield visible
        else:
            plain = progress.PlainBar(bar, self._err, title, total, unit)
            yield plain
            plain.end()

    @contextmanager
    def live(self) -> Iterator[Callable[[Sequence[Text]], None] | None]:
        """Let the block show texts in place of those that it showed before; None where the answer is no live terminal.

        What was shown last is gone when the block ends.
        """
        if self.as_json or self.quiet or not (sys.stdout.isatty() and self._out.encoding.startswith("utf")):
            yield None
            return
        from rich.console import Group
        from rich.live import Live

        with Live(console=self._out, auto_refresh=False, transient=True) as shown:
            yield lambda texts: shown.update(Group(*texts), refresh=True)

    @contextmanager
    def reading(self, unit: str = "images") -> Iterator["Progress"]:
        """Show a progress bar while the block reads images or sets, if that takes longer than two seconds."""
        from dsactl.cli.progress import LateBar

        with ExitStack() as stack:
            yield LateBar(lambda: stack.enter_context(self.progress("reading", 1, unit)))


def _print(console: Console, text: str | Text) -> None:
    """Print lines, wrapped between words on a terminal; words longer than a line are not split."""
    if isinstance(text, str):
        text = Text.from_markup("\n".join(map(printable, text.split("\n"))), emoji=False)
    for line in text.split("\n", allow_blank=True):
        for part in _wrapped(line, console.width) if console.file.isatty() else [line]:
            console.print(part)


def _wrapped(line: Text, width: int) -> Iterator[Text]:
    """Split a line to a width, and indent all parts like the first word."""
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
