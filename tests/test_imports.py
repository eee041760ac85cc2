"""Imports go one way: cli → studies → evaluation, runs → synthetic → methods → recipes, training → data, networks."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import import_graph
import pytest

from dsactl.cli.main import program_of

ROOT = Path(__file__).resolve().parents[1]


def test_imports_go_one_way() -> None:
    assert import_graph.against_the_order() == []
    assert import_graph.circles() == []
    assert len(import_graph.arrows()) > 100


def test_packages_within_others_are_rooms_of_their_own() -> None:
    assert import_graph.room("dsactl.studies.nas.search") == import_graph.room("dsactl.studies.nas")
    assert import_graph.room("dsactl.studies.nas.search") == "dsactl.studies.nas"
    assert import_graph.room("dsactl.studies.transfer") == "dsactl.studies"
    assert import_graph.room("registry.hub.pull") == "registry"


def test_the_table_of_packages_is_that_of_the_layers() -> None:
    rows = re.findall(r"^\| (\d+) \| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    table = {(int(layer), name) for layer, names in rows for name in re.findall(r"`([\w.]+)`", names)}
    layers = {(number, name) for number, rooms in enumerate(import_graph.LAYERS, 1) for name in rooms}
    assert {name for _, name in table ^ layers} == {"registry.hub", "dsactl", "dsactl.__main__"}


def test_the_registry_knows_nothing_of_dsactl_or_torch() -> None:
    for path in (ROOT / "registry").rglob("*.py"):
        assert not {name for name in import_graph.imported(path) if name.startswith("dsactl")}, path
        assert "torch" not in path.read_text(), path


COMMAND_LINE = re.compile(
    r"(?<![\w-])--[a-z][\w-]*"  # a flag
    rf"|\bdsactl (?:{'|'.join(str(command.name) for command in program_of([]).registered_commands)}|\Z)"  # a command
    r"|\bDSACTL_\w+"  # an environment variable
)
ALLOWED = {
    "registry/reader.py": {
        "DSACTL_HOME": "the usual place of a store is read from the environment by whoever opens one without a folder"
    },
}
"""What the registry says of the command line all the same, by file, and why."""
ALLOWED_IN_DSACTL = {
    "dsactl/diagnosis/compilers.py": {
        "--version": "a flag of the C++ compiler",
        "--install": "a flag of xcode-select",
    },
    "dsactl/diagnosis/gpu.py": {
        "--format": "a flag of nvidia-smi",
        "--query-gpu": "a flag of nvidia-smi",
        "--force-reinstall": "a flag of pip",
    },
    "dsactl/diagnosis/memory.py": {"--memory": "a flag of docker", "--shm-size": "a flag of docker"},
    "dsactl/diagnosis/packages.py": {"--upgrade": "a flag of pip", "--force-reinstall": "a flag of pip"},
    "dsactl/diagnosis/processor.py": {"--cpus": "a flag of docker"},
    "dsactl/engine/native.py": {"--version": "a flag of the C++ compiler"},
    "dsactl/engine/on_ray.py": {"dsactl ": "the program and its version, compared between machines"},
    "dsactl/evaluation/cache.py": {"dsactl ": "the program and its version, stored with results"},
    "dsactl/expert_pools/make.py": {"dsactl ": "the program and its version, stored with pools"},
    "dsactl/synthetic/storage.py": {"dsactl ": "the program and its version, stored with sets"},
}
"""The same of dsactl outside dsactl/cli."""


def of_the_command_line(source: str) -> set[str]:
    """Flags, commands and environment variables that strings, docstrings and parts of f-strings name."""
    nodes = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return {found for text in nodes if isinstance(text, str) for found in COMMAND_LINE.findall(text)}


def test_the_registry_does_not_speak_of_the_command_line() -> None:
    """Its messages name parameters and calls, which the command line translates."""
    said = {}
    for path in (ROOT / "registry").rglob("*.py"):
        if found := of_the_command_line(path.read_text()):
            said[path.relative_to(ROOT).as_posix()] = found
    assert said == {path: set(words) for path, words in ALLOWED.items()}


def test_below_the_command_line_nothing_speaks_of_it() -> None:
    """Environment variables may be named: Python users set them as well."""
    said = {}
    for path in (ROOT / "dsactl").rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        found = {word for word in of_the_command_line(path.read_text()) if not word.startswith("DSACTL_")}
        if found and not name.startswith("dsactl/cli/"):
            said[name] = found
    assert said == {path: set(words) for path, words in ALLOWED_IN_DSACTL.items()}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("'Use --name.'", "--name"),
        ('f"{x} (--create-pr)"', "--create-pr"),
        ('"""See: dsactl ls"""', "dsactl ls"),
        ('f"See: dsactl tag {name}"', "dsactl tag"),
        ('f"See: dsactl {command}"', "dsactl "),
        ('"$DSACTL_HOME"', "DSACTL_HOME"),
        ("'Update dsactl. Pushed with dsactl can be seen -- or not; a--b'", None),
        ("# --name", None),
    ],
)
def test_words_of_the_command_line_are_found(source: str, found: str | None) -> None:
    assert of_the_command_line(source) == ({found} if found else set())


def test_light_commands_do_not_load_torch() -> None:
    code = (
        "import sys; import dsactl, dsactl.recipes.recipe, dsactl.cli.main as m; "
        "program = m.program_of([]); "
        "program(['ls'], standalone_mode=False); program(['datasets', '-q'], standalone_mode=False); "
        "program(['runs'], standalone_mode=False); dsactl.list_runs(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0


def test_the_benchmarks_can_be_imported() -> None:
    """They are no part of the suite, and use much of the program."""
    paths = list((ROOT / "benchmarks").glob("*.py"))
    assert paths
    for path in paths:
        assert any(name.startswith("test_") for name in runpy.run_path(str(path)))


def test_files_stay_small() -> None:
    long = [
        path
        for package in ("dsactl", "registry")
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text().splitlines()) > 400
    ]
    assert not long
