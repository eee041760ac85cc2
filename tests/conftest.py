"""Fixtures. Tests run on a store and a data folder of their own.

    pytest tests/studies/nas                                a part, one after the other, on all cores
    pytest -n 2 --no-loadscope-reorder              all, by two workers of one thread each; as `make test` does

A module's tests stay with one worker, since they share what is made once; so do modules that must not run beside each
other.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: threads of two workers in each other's way cost both

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
import torch
from foreign_methods import install as install

from dsactl.cli.main import main
from dsactl.engine.memory import keep_freed_memory

SHARED = Path(__file__).resolve().parents[2] / "shared"

keep_freed_memory()

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As in the background of a shell without job control. Programs that the tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


GROUPS = {"test_ray.py": "cluster", "test_ray_clusters.py": "cluster", "test_ray_sets.py": "cluster"}
GROUPS |= {"test_ray_pools.py": "cluster"}
GROUPS |= {"test_processes.py": "cluster", "test_store_survives.py": "open to all", "test_upkeep.py": "open to all"}
GROUPS |= {"test_file_systems.py": "open to all", "test_tutorial.py": "installed", "test_wheel.py": "installed"}
"""Modules that must not run beside each other: that have several processes at work, or open a folder of all tests; and
those that share an installed program.
"""
LONGEST = ("cluster", "open to all", "installed")
"""Groups that begin first, so that none of them is left over at the end."""


def group(path: Path) -> str:
    """The group of a module, whose tests one worker runs: its own, or that of several modules."""
    return GROUPS.get(path.name, path.stem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest groups begin; skip what needs a GPU that is not here."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := group(item.path)) in LONGEST else len(LONGEST))
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share the tests out by groups, whatever is said on the command line."""
    from xdist.scheduler import LoadScopeScheduling  # only here: without workers no xdist is needed

    class ByGroup(LoadScopeScheduling):
        """Hands a worker one group after the other."""

        def _split_scope(self, nodeid: str) -> str:
            return group(Path(nodeid.partition("::")[0]))

    return ByGroup(config, log)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say how often something was tried; printed after the tests."""
    return lambda text: request.node.user_properties.append(("told", f"{request.node.name}: {text}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have told."""
    told = [
        text
        for report in terminalreporter.getreports("passed")
        for name, text in report.user_properties
        if name == "told" and report.when == "call"
    ]
    if told:
        terminalreporter.section("counts")
        for text in told:
            terminalreporter.write_line(text)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's store or data sets."""
    monkeypatch.setenv("DSACTL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DSACTL_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DSACTL_DEBUG", raising=False)


@pytest.fixture
def open_to_all(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """While a test runs, a child that is somebody else may enter its folder; only root can have such a child."""
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    base = tmp_path_factory.getbasetemp()
    top = next((folder for folder in base.parents if folder.name.startswith("pytest-of-")), base)
    if not all(path.stat().st_mode & 0o001 for path in top.parents):
        pytest.skip(f"only root may enter {top.parent}")
    modes = {path: path.stat().st_mode for path in [tmp_path, *tmp_path.parents] if path.is_relative_to(top)}
    for path, mode in modes.items():
        path.chmod(mode | 0o055)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real data sets, unpacked; where they do not lie beside the project, the tests that need them are skipped."""
    script = SHARED / "data" / "unpack.py"
    if not script.is_file():
        pytest.skip(f"the real data sets are not here ({script})")
    folder = tmp_path_factory.mktemp("real-data")
    command = [sys.executable, str(script), "--dst", str(folder)]
    unpacked = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert unpacked.returncode == 0, unpacked.stdout
    return folder


Answer = tuple[int, str, str]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command line in this process; returns exit code, standard output and standard error."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["dsactl", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return run


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own; returns the finished process."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return processes.run(*arguments, env={**os.environ, "NO_COLOR": "1", **environment}, cwd=tmp_path)

    return run


@pytest.fixture
def refused(cli: Callable[..., Answer]) -> Callable[..., str]:
    """Run a command line that must be refused, in this process; returns what it says, which is a line and a hint."""

    def run(*arguments: str) -> str:
        code, out, err = cli(*arguments)
        assert code in (1, 2), err
        assert not out
        assert len(err.splitlines()) <= 2, err
        return err

    return run
