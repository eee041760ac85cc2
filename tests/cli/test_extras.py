"""Optional packages: the main commands work without them, and other commands name the missing extra."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

import dsactl
import registry
from dsactl.cli.commands import env
from dsactl.cli.output import Output
from registry import extras

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
OPTIONAL = ("matplotlib", "scipy", "pyarrow", "huggingface_hub", "pandas", "sklearn", "ray", "datasets", "tensorboard")
STUDIES, HUB, SVHN = ({"matplotlib", "scipy"}, "studies"), ({"huggingface_hub", "pyarrow"}, "hub"), ({"scipy"}, "svhn")
PLOTS, CLIENT = ({"matplotlib"}, "studies"), ({"huggingface_hub"}, "hub")

LIGHT = {
    "condense digits --ipc 1 --log-dir logs": ("--log-dir", {"tensorboard"}, "tensorboard"),
    "transfer digits": ("dsactl transfer", *PLOTS),
    "ablate ipc digits": ("dsactl ablate", *PLOTS),
    "reproduce table1": ("dsactl reproduce", *PLOTS),
    "reproduce figure5": ("dsactl reproduce", *PLOTS),
    "reproduce clock": ("dsactl reproduce", *PLOTS),
    "nas digits": ("dsactl nas", *STUDIES),
    "continual --tasks digits --splits 2": ("dsactl continual", *PLOTS),
    "continual": ("svhn", *SVHN),
    "push x a/b": ("dsactl push", *HUB),
    "push x a/b --dry-run": ("dsactl push", *HUB),
    "pull a/b": ("dsactl pull", *CLIENT),
    "export x -o x.parquet": ("dsactl export --format parquet", {"pyarrow"}, "hub"),
}
"""Command lines refused before torch is imported: the name in the message, the missing packages, and their extra."""
REFUSED = {
    **LIGHT,
    "condense svhn@validation --ipc 1": ("svhn", *SVHN),
    "continual --tasks mnist,svhn --dry-run": ("svhn", *SVHN),
    "reproduce figure2": ("svhn", *SVHN),
    "evaluate --ray 1.2.3.4:5": ("--ray 1.2.3.4:5", {"ray"}, "ray"),
}
MADE = "digits-dsa-convnet-width8-ipc1"
MAIN = (
    "condense digits --ipc 1 --width 8 --iterations 1",
    "evaluate --networks 1 --epochs 1",
    "ls",
    f"show {MADE}",
    f"export {MADE} -o made.npz",
    "nas digits --proxy random --ipc 1 --where depth=1,width=32 --sample 1 --dry-run",
)

WITHOUT = """import contextlib, io, json, os, sys
packages, commands = map(json.loads, sys.argv[1:])
sys.modules |= dict.fromkeys(packages)  # None: cannot be imported
from dsactl.cli.main import main
answers = {}
for command in commands:
    sys.argv = ["dsactl", *command.split()]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    answers[command] = code, out.getvalue(), err.getvalue(), "torch" in sys.modules, os.listdir()
print(json.dumps(answers))
"""


class Answer(NamedTuple):
    """Exit code and output of a command line, whether torch was imported, and the files in the folder."""

    code: int
    out: str
    err: str
    torch: bool
    files: list[str]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """Run all command lines in one process that cannot import optional packages."""
    folder = tmp_path_factory.mktemp("without")
    own = {"DSACTL_HOME": str(folder / "home"), "DSACTL_DATA": str(folder / "data"), "COLUMNS": "200"}
    words = [sys.executable, "-c", WITHOUT, json.dumps(OPTIONAL), json.dumps([*REFUSED, *MAIN])]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=folder, env={**os.environ, **own}, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return {command: Answer(*each) for command, each in json.loads(ended.stdout).items()}


def test_the_main_commands_need_no_extra(answers: dict[str, Answer]) -> None:
    needed = {Requirement(each).name for each in PROJECT["dependencies"]}
    assert not needed & {*OPTIONAL, "scikit-learn"}
    assert {command: answers[command].err for command in MAIN if answers[command].code} == {}
    condensed, _, listed, shown, exported, dry = (answers[command] for command in MAIN)
    assert f"Stored {MADE}:1" in condensed.out
    assert listed.out.splitlines()[1].startswith(f"{MADE}:1")
    assert "convnet-width8" in shown.out
    assert "made.npz" in exported.files
    assert "Total: " in dry.out


def test_commands_that_need_an_extra_are_refused_at_once(answers: dict[str, Answer]) -> None:
    for command, (what, packages, extra) in REFUSED.items():
        one = len(packages) == 1
        named = f"the package {min(packages)}, which is" if one else f"{' and '.join(sorted(packages))}, which are"
        answer = answers[command]
        assert (answer.code, answer.out) == (2, ""), command
        message, hint = answer.err.splitlines()
        assert message == f"Error: {what} needs {named} not installed.", command
        assert hint.startswith(f"  Install {'it' if one else 'them'}: pip install 'dsactl[{extra}]'."), command
        assert answer.files == [], f"{command} wrote or downloaded something"
    assert not any(answers[command].torch for command in LIGHT)


def test_the_extras_declare_the_packages() -> None:
    declared = {
        extra: {Requirement(each).name for each in packages}
        for extra, packages in PROJECT["optional-dependencies"].items()
    }
    for _, packages, extra in REFUSED.values():
        assert packages <= declared[extra]
    (everything,) = map(Requirement, PROJECT["optional-dependencies"]["all"])
    assert everything.extras == declared.keys() - {"all", "dev"}


def test_a_missing_extra_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda package: False)
    with pytest.raises(
        dsactl.Error, match=r"`pull\(\.\.\.\)` needs the package huggingface_hub.*dsactl\[hub\]"
    ) as raised:
        dsactl.pull("a/b")
    assert isinstance(raised.value, registry.MissingPackageError)


def test_env_shows_missing_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(env, "version", lambda name: importlib.metadata.version("no-" * (name in OPTIONAL) + name))
    monkeypatch.setattr("dsactl.engine.mode.best_mode", lambda *_, **__: "eager")  # to find it out takes seconds
    env.command(output=Output())
    versions = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {versions[name] for name in ("matplotlib", "scipy", "huggingface_hub", "ray")} == {"not installed"}
    assert versions["dsactl"] == dsactl.__version__
    env.command(output=Output(as_json=True))
    assert json.loads(capsys.readouterr().out)["ray"] is None
