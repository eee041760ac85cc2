"""The program `dsactl`."""

import os
import sys
from typing import Annotated

import typer

from dsactl import __version__
from dsactl.cli import (
    ablate,
    archs,
    bash_completion,
    bench,
    condense,
    continual,
    datasets,
    diff,
    env,
    errors,
    evaluate,
    export,
    import_,
    ls,
    prune,
    pull,
    push,
    reproduce,
    rm,
    show,
    tag,
    transfer,
    verify,
)
from dsactl.cli.output import Output
from dsactl.errors import UsageError

app = typer.Typer(
    name="dsactl",
    help="Condense a labelled image data set into a handful of synthetic images per class, from which networks train "
    "almost as well (Differentiable Siamese Augmentation, ICML 2021).",
    epilog="Start with: dsactl condense digits --ipc 1, then: dsactl evaluate",
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        Output().answer(__version__, [__version__], [f"dsactl {__version__}"])
        raise typer.Exit


@app.callback()
def _program(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of the program itself; the help where there is no command."""
    if is_of_several() and context.invoked_subcommand != "condense":
        raise UsageError("torchrun is for condense: no other command shares its work.", "Run it without torchrun.")
    if context.invoked_subcommand is None:
        output = Output()
        output.answer(None, [], [context.get_help()])


_PANELS = {
    "Make and measure": {"condense": condense, "evaluate": evaluate, "bench": bench},
    "Study": {"transfer": transfer, "ablate": ablate, "continual": continual, "reproduce": reproduce},
    "Keep": {
        "ls": ls,
        "show": show,
        "diff": diff,
        "tag": tag,
        "rm": rm,
        "verify": verify,
        "prune": prune,
        "export": export,
        "import": import_,
    },
    "Share": {"push": push, "pull": pull},
    "What is there": {"datasets": datasets, "archs": archs, "env": env},
}

for _panel, _commands in _PANELS.items():
    for _name, _module in _commands.items():
        app.command(_name, epilog=_module.EXAMPLES, rich_help_panel=_panel)(_module.command)


def main() -> None:
    """Run the command line and exit with its code."""
    bash_completion.complete(lambda: app(prog_name="dsactl"))
    code: object = 0
    try:
        code = app(prog_name="dsactl", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        if errors.debugging():
            errors.print_traceback()
        code = errors.report(error, Output())
    sys.exit(code if isinstance(code, int) else 0)


def is_of_several() -> bool:
    """Whether torchrun started this process with others."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
