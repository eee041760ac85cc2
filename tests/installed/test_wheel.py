"""The source distribution, the wheel, and the program installed from it."""

import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import dsactl
from dsactl.cli.man_page import man_page
from installed.program import ROOT, Installation

pytest_plugins = ["installed.fixtures"]


def packaged() -> Iterator[str]:
    """Yield the files of the two packages, relative to the checkout."""
    for package in ("dsactl", "registry"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix()


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(installation: Installation) -> None:
    with zipfile.ZipFile(installation.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name and ".data/" not in name}
    assert names == set(packaged())
    assert {"dsactl/paper.json", "dsactl/data/digits.npz", "dsactl/engine/instance_block.cpp"} <= names
    assert "dsactl/synthetic/bundled_sets/sets/_/mnist-dsa-convnet-ipc1/1.png" in names


def test_the_source_distribution_has_what_the_checkout_has(installation: Installation) -> None:
    with tarfile.open(installation.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml"):
        assert name in names
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not in a git repository")
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
    assert {name for name in tracked if not name.startswith(".ci/")} <= names


def test_the_manual_page_is_installed_where_man_looks_for_it(installation: Installation, tmp_path: Path) -> None:
    page = installation.environment / "share" / "man" / "man1" / "dsactl.1"
    assert page.read_text() == man_page()
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    assert installation.run("man", "-w", "dsactl", cwd=tmp_path).stdout == f"{page}\n"


def test_the_installed_program_runs_away_from_the_checkout(installation: Installation, tmp_path: Path) -> None:
    where = installation.run("python", "-c", "import dsactl, registry; print(dsactl.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(installation.environment)), where.stderr
    for words in (("dsactl",), ("python", "-m", "dsactl")):
        version = installation.run(*words, "--version", cwd=tmp_path)
        assert (version.returncode, version.stdout) == (0, f"dsactl {dsactl.__version__}\n"), version.stderr


def test_what_comes_with_the_program_is_installed(installation: Installation, tmp_path: Path) -> None:
    """The bundled sets, the paper's figures, a dataset."""
    sets = json.loads(installation.run("dsactl", "ls", "--bundled", "--json", cwd=tmp_path).stdout)
    assert len(sets) == 9
    shown = installation.run("dsactl", "show", "bundled/mnist-dsa-convnet-ipc1", cwd=tmp_path)
    assert re.search(r"88\.7 ± 0\.6", shown.stdout), shown.stderr
    made = installation.run("dsactl", "condense", "digits", "--ipc", "1", "--method", "random", "-q", cwd=tmp_path)
    assert made.stdout == "digits-random-ipc1:1\n", made.stderr
    few = ("--networks", "1", "--epochs", "1", "--json")
    tested = installation.run("dsactl", "evaluate", "digits-random-ipc1", *few, cwd=tmp_path)
    assert json.loads(tested.stdout)["n"] == 1, tested.stderr
