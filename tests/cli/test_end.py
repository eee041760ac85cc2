"""How the process ends: at once, and with everything done that was to be done at its end."""

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
def test_exit_handlers_are_run_and_what_was_said_is_written(words: str, code: int) -> None:
    done = ended(words, "atexit.register(sys.stdout.write, 'the last word')")
    assert done.returncode == code
    assert done.stdout.endswith("the last word")


def test_a_thread_that_is_at_work_is_waited_for() -> None:
    done = ended("'--version'", "threading.Thread(target=lambda: (time.sleep(0.5), print('done', flush=True))).start()")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["done", f"dsactl {__version__}"])


def test_with_ray_the_end_is_the_interpreter_s_own() -> None:
    """Ray's processes are ended by it."""
    last = "class Last:\n    def __del__(self): print('taken down', flush=True)\nlast = Last()"
    done = ended("'--version'", f"sys.modules['ray'] = type(sys)('ray')\n{last}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "taken down")


def test_a_stream_that_is_closed_is_no_error() -> None:
    for closed in ("sys.stderr", "sys.stdout"):
        assert ended("'archs', '--quiet'", f"{closed} = None").returncode == 0


def test_the_interpreter_is_not_taken_down() -> None:
    """What it would do last, it does not do: to take torch down takes as long as much of the work."""
    last = "class Last:\n    def __del__(self): print('taken down', flush=True)\nlast = Last()"
    done = ended("'--version'", last)
    assert done.stdout == f"dsactl {__version__}\n"
