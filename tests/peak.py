"""How much memory something takes: in a process of its own, with all that libraries allocate for themselves."""

import subprocess
import sys

import pytest

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")

_CODE = """
import json, sys
from pathlib import Path

def _kilobytes(word):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(word)).split()[1])

def peak(call):
    "Bytes by which the peak of a call lies above what was held before."
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    call()
    return 1024 * (_kilobytes("VmHWM") - before)
"""


def run(code: str, *arguments: object) -> str:
    """What some Python prints that measures with `peak(call)`, and finds its arguments in `sys.argv[1:]`."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE + code, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
