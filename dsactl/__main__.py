"""Run as `dsactl`, or as `python -m dsactl`, which is how torchrun starts it."""

import atexit
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn


def start() -> None:
    """Run the program and end the process with its code.

    The interpreter takes longer to take itself down, module by module, than a short command to work; so the process
    ends without that, after everything that was registered for its end has been done.
    """
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if on_ctrl_c == signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_at_once)
    from dsactl.cli.main import main
    from dsactl.cli.signals import end_on_signals

    signal.signal(signal.SIGINT, on_ctrl_c)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before the start
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115
    end_on_signals()
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str) or _needs_the_interpreter():
            raise
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads any more
                stream.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)


def _end_at_once(_number: int, _frame: FrameType | None) -> NoReturn:
    """End on Ctrl-C while the program is loaded, when nothing has begun."""
    os._exit(130)


def _needs_the_interpreter() -> bool:
    """Whether something is left that only the interpreter's own end waits for: Ray's processes, or a thread."""
    waited_for = [thread for thread in threading.enumerate() if not thread.daemon]
    return "ray" in sys.modules or len(waited_for) > 1


if __name__ == "__main__":
    start()
