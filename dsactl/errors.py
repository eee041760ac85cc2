"""Exceptions whose messages are meant for the user.

A message says what is wrong and where; `hint` says what to do next. The command line prints each on a line of its own
and maps the class to an exit code (`cli/errors.py`); a program that imports dsactl catches `dsactl.Error`.
"""

import difflib
import re
from collections.abc import Iterable

from registry.errors import Error


class DsactlError(Error):
    """Base class of every error that dsactl raises on purpose, except the registry's."""


class UsageError(DsactlError):
    """An invalid argument: a bad option, or an impossible combination."""


class UnknownNameError(UsageError):
    """A name that is not in a catalogue. The hint suggests the closest known names.

    Args:
        what: the kind of thing, in the singular ("dataset", "network").
        name: the unknown name.
        known: the valid names.
        see: where to find the valid names; added to the hint.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], see: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name).lower(), names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(names)}."
        super().__init__(f"Unknown {what} {name!r}.", f"{hint} {see}".strip())
        self._given = (what, name, names, see)

    def __reduce__(self) -> tuple[type["UnknownNameError"], tuple[str, str, list[str], str]]:
        """Return what pickle needs to rebuild the error, so that a worker can send it."""
        return type(self), self._given


class KeywordError(UsageError, TypeError):
    """A keyword argument that a function does not take; also a TypeError, as Python itself raises."""


class UnknownKeywordError(UnknownNameError, KeywordError):
    """A keyword argument that a function does not have. The hint suggests the closest ones."""


class DataError(DsactlError):
    """A dataset that is missing, damaged or unsuitable."""


class NetworkError(UsageError):
    """A network that cannot be built for the given images."""


class DeviceError(UsageError):
    """A device or precision that this machine does not have."""


class RunError(DsactlError):
    """A run that cannot continue: a foreign checkpoint, a run already in progress, a diverged optimisation."""


class ClusterError(DsactlError):
    """A cluster that does not answer or cannot be used."""


class ProcessError(RunError):
    """A failure of another process of the run: it died, or could not be reached.

    Args:
        message, hint: see `Error`.
        mine: whether this process should report it; of several that notice, one does.
    """

    def __init__(self, message: str, hint: str = "", *, mine: bool = True) -> None:
        super().__init__(message, hint)
        self.mine = mine


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means out of memory, of the process or of a GPU; decided without importing torch."""
    said = str(error)  # torch's CPU allocator has no exception class of its own
    return (
        isinstance(error, MemoryError)
        or is_cuda_oom(error)
        or (isinstance(error, RuntimeError) and "alloc" in said and "memory" in said)
    )


def is_gpu_failure(error: BaseException) -> bool:
    """Return whether an exception is about a GPU or driver that does not work, rather than about what it computes."""
    return isinstance(error, RuntimeError) and _GPU_FAILURE.search(str(error)) is not None


_GPU_FAILURE = re.compile(
    r"no kernel image|NVIDIA driver|CUDA driver|CUDA-capable device|busy or unavailable|"
    r"CUDA error: (initialization error|unknown error|system|uncorrectable|invalid device ordinal)"
)


def is_cuda_oom(want: BaseException) -> bool:
    """Return whether an out-of-memory error is a GPU's."""
    return type(want).__name__ == "OutOfMemoryError"


INTERRUPTS = (KeyboardInterrupt, SystemExit)
"""Exceptions that end work from outside: Ctrl-C, and on the command line signals such as SIGTERM."""


def explain_interrupt(interrupt: BaseException, message: str, hint: str = "") -> None:
    """Add a note to an interrupt that says what is kept, and how to continue; Python prints it below the traceback.

    Args:
        interrupt: the exception, which the caller passes on.
        message: what was interrupted, and what is kept.
        hint: how to continue.
    """
    interrupt.add_note("\n".join(filter(None, (message, hint))))


def continue_hint(*, fresh: bool = False) -> str:
    """Return how to continue interrupted work, which was started over or not."""
    return f"Run the same again{', without `fresh=True`,' if fresh else ''} to continue from there."
