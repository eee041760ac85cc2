"""One table from exception to message and exit code: 1 it failed, 2 usage, 130 Ctrl-C."""

import os
import sys
import traceback
from typing import Protocol, runtime_checkable

import typer

import registry
from dsactl.cli.output import Output
from dsactl.errors import InterruptedRunError, ProcessError, UsageError, is_of_a_gpu, is_want_of_memory

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_SMALLER = "Use a smaller network, fewer images per class, or smaller batches."


@runtime_checkable
class CommandLineError(Protocol):
    """What typer raises on a command line it cannot read: click's exceptions, or its own copy of them."""

    exit_code: int

    def format_message(self) -> str:
        """What is wrong."""


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get("DSACTL_DEBUG", "") not in ("", "0")


def print_traceback() -> None:
    """The traceback of the exception that is being handled, without the Hub's token, which a server may send back."""
    from registry.hub.errors import masked

    sys.stderr.write(masked(traceback.format_exc()))


def report(error: BaseException, output: Output) -> int:
    """Print one clear message for an exception and return the exit code."""
    match error:
        case InterruptedRunError():
            output.error(error.message, error.hint)
            return INTERRUPTED
        case ProcessError(mine=False):
            return FAILED
        case UsageError() | registry.BadNameError() | registry.MissingPackageError():
            output.error(error.message, error.hint)
            return USAGE
        case registry.Error():
            output.error(error.message, error.hint)
            return FAILED
        case CommandLineError():
            context = getattr(error, "ctx", None)
            see = f"See: {context.command_path if context else 'dsactl'} --help"
            output.error(error.format_message(), see, verbatim=True)
            return error.exit_code
        case typer.Abort() | KeyboardInterrupt():
            output.error("Interrupted.")
            return INTERRUPTED
        case _ if is_want_of_memory(error):
            if is_of_a_gpu(error):
                output.error("Out of GPU memory.", f"{_SMALLER} Or use --device cpu.")
            else:
                output.error("Out of memory.", _SMALLER)
            return FAILED
        case BrokenPipeError():
            # The reader of a pipe has gone, as `head` does. Nothing is left to say, and nobody to say it to.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        case OSError():
            output.error(f"{error.filename or 'The system'}: {error.strerror or error}.", verbatim=True)
            return FAILED
        case _:
            output.error(
                f"Internal error, {type(error).__name__}: {error}",
                "Run the command again with DSACTL_DEBUG=1 for the traceback, and report it.",
                verbatim=True,
            )
            return FAILED
