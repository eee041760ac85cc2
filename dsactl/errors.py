"""What can go wrong, as exceptions whose message is meant for the person at the keyboard.

A message says what is wrong and where; `hint` says what to do next. The command line prints both on one line each
and turns the class into an exit code (`cli/errors.py`); a program that imports dsactl catches `dsactl.Error`.
"""

import difflib
from collections.abc import Iterable

from registry.errors import Error


class DsactlError(Error):
    """Base of every error that dsactl raises on purpose, but for those of the registry."""


class UsageError(DsactlError):
    """A value that was asked for makes no sense: a bad option, an impossible combination."""


class UnknownNameError(UsageError):
    """A name that is not in a catalogue. The hint holds the nearest known ones.

    Args:
        what: what was looked for, in the singular ("data set", "network").
        name: what was given.
        known: the names that exist.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], see: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {', '.join(names)}."
        super().__init__(f"Unknown {what} {name!r}.", f"{hint} {see}".strip())
        self._given = (what, name, names, see)

    def __reduce__(self) -> tuple[type["UnknownNameError"], tuple[str, str, list[str], str]]:
        """So that a worker can send it."""
        return type(self), self._given


class DataError(DsactlError):
    """A data set that is missing, damaged or unfit."""


class NetworkError(UsageError):
    """A network that cannot be built for the images at hand."""


class DeviceError(UsageError):
    """A device or precision that this machine does not have."""


class RunError(DsactlError):
    """A run that cannot go on: a foreign checkpoint, a run already in progress, a diverged optimisation."""


class InterruptedRunError(RunError):
    """A run that was stopped from outside, after its checkpoint was written."""


class ClusterError(DsactlError):
    """A cluster that does not answer, or cannot be used."""


class ProcessError(RunError):
    """Another process of the run died, or could not be reached.

    Args:
        message, hint: as of every error.
        mine: whether it is for this process to say so; of several that notice, one speaks.
    """

    def __init__(self, message: str, hint: str = "", *, mine: bool = True) -> None:
        super().__init__(message, hint)
        self.mine = mine


def is_want_of_memory(error: BaseException) -> bool:
    """Whether an exception is for want of memory, of the process or of a GPU; told without torch."""
    said = str(error)  # torch's allocator for the CPU has no exception of its own
    return (
        isinstance(error, MemoryError)
        or is_of_a_gpu(error)
        or (isinstance(error, RuntimeError) and "alloc" in said and "memory" in said)
    )


def is_of_a_gpu(want: BaseException) -> bool:
    """Whether a want of memory is a GPU's."""
    return type(want).__name__ == "OutOfMemoryError"
