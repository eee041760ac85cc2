"""The program as its users get it: installed from a wheel that is built from the source distribution."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installation:
    """An installed program.

    Attributes:
        environment: folder of the virtual environment.
        sdist, wheel: the files that were built.
    """

    environment: Path
    sdist: Path
    wheel: Path

    def run(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the programs of the environment, and without the checkout on Python's path."""
        bin_folder = self.environment / "bin"
        whole = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1", **variables}
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COLUMNS", "LINES"):
            whole.pop(name, None)
        program = bin_folder / words[0]
        command = [str(program) if program.exists() else words[0], *words[1:]]
        return subprocess.run(command, env=whole, cwd=cwd, capture_output=True, text=True, timeout=600)


def install(folder: Path) -> Installation:
    """Build and install the program in a folder, within some seconds.

    Dependencies come from the environment of the tests, so that none is installed again.
    """
    sdist = _build(ROOT, "sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    wheel = _build(source, "wheel", folder)
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = str(environment / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    _succeed([*pip, "--disable-pip-version-check", str(wheel)], folder)
    (site,) = (environment / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installation(environment, sdist, wheel)


def _build(source: Path, target: str, folder: Path) -> Path:
    """Build as `python -m build` does, with the installed hatchling."""
    _succeed([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder / target)], source)
    (built,) = (folder / target).iterdir()
    return built


def _succeed(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
