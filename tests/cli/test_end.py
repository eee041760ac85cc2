"""Exit of the process: immediate, but after exit handlers, threads and output."""

import subprocess
import sys

import pytest

from dsactl import __version__

BEGIN = """
import atexit, sys, threading, time
from dsactl.__main__ import start
sys.argv = ["dsactl", {words}]
{before}
start()
"""


def ended(words: str, before: str) -> subprocess.CompletedProcess[str]:
    code = BEGIN.format(words=words, before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("words", "code"), [("'--version'", 0), ("'show', 'nowhere'", 1), ("'condense'", 2)])
def test_exit_handlers_run_and_output_is_flushed(words: str, code: int) -> None:
    done = ended(words, "atexit.register(sys.stdout.write, 'the last word')")
    assert done.returncode == code
    assert done.stdout.endswith("the last word")


def test_running_threads_are_joined() -> None:
    done = ended("'--version'", "threading.Thread(target=lambda: (time.sleep(0.5), print('done', flush=True))).start()")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["done", f"dsactl {__version__}"])


def test_with_ray_the_interpreter_exits_normally() -> None:
    """The normal exit ends Ray's processes."""
    last = "class Last:\n    def __del__(self): print('taken down', flush=True)\nlast = Last()"
    done = ended("'--version'", f"sys.modules['ray'] = type(sys)('ray')\n{last}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "taken down")


def test_closed_streams_are_no_error() -> None:
    for closed in ("sys.stderr", "sys.stdout", "sys.stdin"):
        assert ended("'archs', '--quiet'", f"{closed} = None").returncode == 0


def test_interpreter_shutdown_is_skipped() -> None:
    """Objects are not destroyed: for torch this takes as long as a good part of the work."""
    last = "class Last:\n    def __del__(self): print('taken down', flush=True)\nlast = Last()"
    done = ended("'--version'", last)
    assert done.stdout == f"dsactl {__version__}\n"
