"""Entry point of the program `dsactl`."""

import importlib
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from dsactl import __version__
from dsactl.cli import completion, errors, signals
from dsactl.cli.help_screen import Command, Program
from dsactl.cli.option_groups import expanded
from dsactl.cli.output import Output
from dsactl.cli.streams import ignore_zero_width, replace_unencodable
from dsactl.cli.torchrun import is_of_several
from dsactl.errors import ProcessError, UsageError
from registry import collector

PANELS = {
    "Condense and evaluate": ("condense", "evaluate", "experts", "relabel", "runs", "bench"),
    "Experiments": ("transfer", "ablate", "continual", "nas", "reproduce"),
    "Manage sets": ("ls", "show", "page", "diff", "tag", "rm", "verify", "prune", "export", "import"),
    "Hugging Face Hub": ("push", "pull"),
    "Info": ("datasets", "archs", "env", "doctor"),
}
"""The commands by panel of the help. Each is a module of the same name, with an underscore if that is a keyword."""


def program_of(words: Sequence[str]) -> typer.Typer:
    """Build the program with only the command that the arguments name, or with all commands.

    Importing all of them takes longer than many commands run.

    Args:
        words: the command line without the program's name.
    """
    app = typer.Typer(
        name="dsactl",
        cls=Program,
        help="Condense a labelled image dataset into a handful of synthetic images per class, from which networks "
        "train almost as well (Differentiable Siamese Augmentation, ICML 2021).",
        epilog="Start with: dsactl condense digits --ipc 1, then: dsactl evaluate",
        invoke_without_command=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_program)
    known = [name for names in PANELS.values() for name in names]
    wanted = words[:1] if words and words[0] in known else known
    for panel, names in PANELS.items():
        for name in names:
            if name in wanted:
                module = command_module(name)
                about = paragraphs(module.command.__doc__)
                command = expanded(module.command)
                app.command(name, cls=Command, help=about, epilog=module.EXAMPLES, rich_help_panel=panel)(command)
    return app


def command_module(name: str) -> ModuleType:
    """Import the module of a command."""
    return importlib.import_module(f"dsactl.cli.commands.{name}{'_' if keyword.iskeyword(name) else ''}")


def paragraphs(docstring: str | None) -> str:
    """Put each paragraph of a docstring on one line, so that the help wraps it at the terminal's width.

    Args:
        docstring: None if Python leaves docstrings out (`-OO`).
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (docstring or "").split("\n\n"))


def _version(asked: bool) -> None:
    if asked:
        Output().answer(__version__, [__version__], [f"dsactl {__version__}"])
        raise typer.Exit


def _program(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle the options of the program itself, and print the help if there is no command."""
    if is_of_several() and context.invoked_subcommand != "condense":
        raise UsageError("Only condense supports torchrun.", "Run this command without torchrun.")
    if context.invoked_subcommand is None:
        output = Output()
        output.answer(None, [], [context.get_help()])


def check_working_directory() -> None:
    """Check that the working directory exists: without one, libraries of torch end the process.

    Raises:
        UsageError: it was removed.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("The working directory does not exist any more.", "Change to another one.") from None


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse an argument without text, as of an empty variable of the shell, which would mean the current folder.

    Raises:
        UsageError: there is one.
    """
    for before, word in zip(["dsactl", *words], words, strict=False):
        if not word or re.fullmatch(r"--[^=]+=", word):
            raise UsageError(
                f"The argument {word or 'after ' + before} is empty.",
                "Give it a value, or leave it out. Is a variable of the shell empty?",
            )


def main() -> None:
    """Run the command line and exit with its code."""
    replace_unencodable()
    ignore_zero_width()
    with collector.gc_paused():
        app = program_of(sys.argv[1:])
    completion.complete(lambda: app(prog_name="dsactl"))
    code: object = 0
    try:
        check_working_directory()
        completion.set_up(sys.argv[1:])
        _refuse_empty(sys.argv[1:])
        code = app(prog_name="dsactl", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        ended = None if isinstance(error, ProcessError) else signals.exit_code()
        if isinstance(error, SystemExit) and ended is None:
            raise
        if errors.debugging():
            errors.print_traceback()
        if ended is None:
            code = errors.report(error, Output())
        else:  # whatever the exception is: Ray may have replaced the one that the signal raised
            errors.report_interrupt(error, Output())
            code = ended
    sys.exit(code if isinstance(code, int) else 0)
