"""Which compilers are here. Tests that need one are skipped by this, not by whether our code compiles."""

import os
import shlex
import shutil
import sysconfig
from pathlib import Path

import pytest


def _is_here(*usual: str) -> bool:
    """Whether `$CXX`, or where that is not set one of these programs, is to be found."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    return any(map(shutil.which, chosen[:1] or usual))


needs_compiler = pytest.mark.skipif(
    os.environ.get("DSACTL_NATIVE") == "0" or not _is_here("c++", "g++", "clang++"),
    reason="no C++ compiler, or DSACTL_NATIVE=0",
)
"""For layers of our own."""

needs_torch_compile = pytest.mark.skipif(
    not (_is_here("g++") and Path(sysconfig.get_path("include"), "Python.h").is_file()),
    reason="no g++, or no header files of Python",
)
"""For torch.compile on a CPU."""
