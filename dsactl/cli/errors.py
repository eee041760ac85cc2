"""Messages and exit codes of exceptions: 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""

import contextlib
import os
import sys
import traceback
from typing import Protocol, runtime_checkable

import typer

import registry
from dsactl.cli.output import Output
from dsactl.errors import ProcessError, UsageError, is_cuda_oom, is_gpu_failure, is_out_of_memory

FAILED, USAGE, INTERRUPTED = 1, 2, 130
_SMALLER = "Use a smaller network, fewer images per class, or smaller batches."


@runtime_checkable
class CommandLineError(Protocol):
    """A parse error of typer: one of click's exceptions, or of typer's own copy of them."""

    exit_code: int

    def format_message(self) -> str:
        """Return the message."""


class InterruptedCommandError(Exception):
    """Ctrl-C; the cause is the KeyboardInterrupt, which typer would turn into an exit code, without its note."""


def debugging() -> bool:
    """Return whether DSACTL_DEBUG asks for tracebacks."""
    return os.environ.get("DSACTL_DEBUG", "") not in ("", "0")


def print_traceback() -> None:
    """Print the traceback of the current exception, with the Hub's token masked in case a server returned it."""
    from registry.hub.errors import masked

    sys.stderr.write(masked(traceback.format_exc()))


def report_interrupt(error: BaseException, output: Output) -> None:
    """Print what the last note of an exception says of the work that it ended (`dsactl.errors.explain_interrupt`)."""
    *_, note = getattr(error, "__notes__", ["Interrupted."])
    message, _, hint = note.partition("\n")
    with contextlib.suppress(OSError):  # the terminal may be gone
        output.error(message, hint)


def report(error: BaseException, output: Output) -> int:
    """Print an exception as one message and return the exit code."""
    match error:
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
        case typer.Abort() | KeyboardInterrupt() | InterruptedCommandError():
            report_interrupt(error.__cause__ or error, output)
            return INTERRUPTED
        case _ if is_out_of_memory(error):
            if is_cuda_oom(error):
                output.error("Out of GPU memory.", f"{_SMALLER} Or use --device cpu.")
            else:
                output.error("Out of memory.", _SMALLER)
            return FAILED
        case ImportError() if "map segment" in str(error) or "cannot allocate" in str(error):
            output.error(f"Not enough memory to load {error}.", "Raise the limit, such as ulimit -v.", verbatim=True)
            return FAILED
        case _ if is_gpu_failure(error):
            output.error(f"The GPU does not work: {str(error).splitlines()[0]}", "Use --device cpu.", verbatim=True)
            return FAILED
        case RuntimeError() if "home directory" in str(error):  # of pathlib and of other packages
            output.error("There is no home folder: HOME is not set.", "Set HOME.")
            return FAILED
        case BrokenPipeError():
            # The reader closed the pipe, as `head` does. No output is possible.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        case OSError():
            output.error(f"{error.filename or 'The system'}: {error.strerror or error}.", verbatim=True)
            return FAILED
        case _:
            output.error(
                f"Internal error, {type(error).__name__}: {error}",
                "Run the command again with DSACTL_DEBUG=1, and report the traceback.",
                verbatim=True,
            )
            return FAILED
