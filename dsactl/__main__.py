"""Run as `dsactl`, or as `python -m dsactl`, which is how torchrun starts it."""

import contextlib
import os
import sys

from dsactl.cli.main import is_of_several, main


def start() -> None:
    """Run the program and end the process with its code."""
    try:
        main()
    except SystemExit as end:
        # Without torch nothing waits for the interpreter's end, which takes longer than to print a long list. Of a
        # group of processes its threads may outlive it, and abort a process whose interpreter goes down under them.
        if isinstance(end.code, str) or ("torch" in sys.modules and not is_of_several()):
            raise
        with contextlib.suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


if __name__ == "__main__":
    start()
