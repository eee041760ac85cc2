"""File systems that lack something, by a library that is loaded before a program's own (LD_PRELOAD)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
#ifdef FOLDER_FSYNC
int fsync(int file) {
    struct stat found;
    if (!fstat(file, &found) && S_ISDIR(found.st_mode)) { errno = FOLDER_FSYNC; return -1; }
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(file);
}
#endif
#ifdef FLOCK
int flock(int file, int how) { (void) file; (void) how; errno = FLOCK; return -1; }
#endif
"""

needs_preload = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and shutil.which("cc")), reason="no C compiler, or no LD_PRELOAD"
)


def lacking(folder: Path, call: str, error: str) -> dict[str, str]:
    """Return the environment of a program on a file system where a call fails.

    Args:
        folder: for the library.
        call: FOLDER_FSYNC, which is fsync of folders, or FLOCK.
        error: name of the errno.
    """
    (folder / "lacking.c").write_text(_SOURCE)
    library = folder / f"{call}-{error}.so"
    command = ["cc", "-shared", "-fPIC", f"-D{call}={error}", "-o", str(library), str(folder / "lacking.c"), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return {"LD_PRELOAD": str(library)}
