"""Packages and extras: installed, missing and too old; the Hub's token and the Hub itself."""

import os
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from hub.machine import NO_PROXY
from hub.server import LoopbackHub

from dsactl.diagnosis import hub, packages

pytest_plugins = ["hub.fixtures"]

ROOT = Path(__file__).parents[2]


def _oldest(requirements: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", each).groups() for each in requirements)  # type: ignore[union-attr]


def test_the_oldest_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert _oldest(project["dependencies"]) == packages.REQUIRED
    extras = {
        name: _oldest(each) for name, each in project["optional-dependencies"].items() if name not in ("all", "dev")
    }
    assert {name: needed for name, (_, needed) in packages.EXTRAS.items()} == extras


@pytest.mark.parametrize(
    ("have", "states"),
    [
        ({"matplotlib": "3.11.2", "scipy": "1.15"}, {"studies": "ok", "svhn": "ok", "ray": "not here"}),
        ({"matplotlib": "3.9rc1", "scipy": "1.2.0"}, {"studies": "broken", "svhn": "broken"}),
        ({"matplotlib": "3.11.2", "scipy": None}, {"studies": "not here", "svhn": "not here"}),
        ({"huggingface_hub": "10.0", "pyarrow": "18.0.0.dev1+x"}, {"hub": "ok"}),
    ],
)
def test_extras(monkeypatch: pytest.MonkeyPatch, have: dict[str, str | None], states: dict[str, str]) -> None:
    def version(package: str) -> str:
        if have.get(package) is None:
            raise PackageNotFoundError
        return str(have[package])

    monkeypatch.setattr(packages, "version", version)
    found = {finding.check.removeprefix("extra "): finding for finding in packages.extras()}
    assert {name: found[name].state for name in states} == states
    for finding in found.values():
        assert ("pip install" in finding.advice) == (finding.state != "ok")
    if have.get("scipy") == "1.2.0":
        assert "scipy 1.2.0 is too old (1.15 or newer)" in found["svhn"].found


def test_what_dsactl_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = packages.required()
    assert finding.state == "ok"
    monkeypatch.setattr(packages, "version", lambda package: "1.0")
    [finding] = packages.required()
    assert (finding.state, "torch 1.0 is too old" in finding.found) == ("broken", True)

    def fail(_: str) -> None:
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(packages.importlib, "import_module", fail)
    [finding] = packages.required()
    assert finding.state == "broken"
    assert finding.found.endswith("cannot be loaded: libtorch_cpu.so: cannot open shared object file.")


HUB = "from dsactl.diagnosis import hub; print(*((f.check, f.state, f.found, f.advice) for f in hub.{}()), sep='\\n')"


def _hub(function: str, home: Path, **environment: str) -> str:
    """Return what a check of the Hub finds in a process of its own: the client reads its variables once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    kept |= {"PYTHONPATH": str(ROOT), "HF_HOME": str(home), **NO_PROXY, **environment}
    command = [sys.executable, "-c", HUB.format(function)]
    ended = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_where_a_token_is_from_and_never_the_token(tmp_path: Path) -> None:
    assert "No token" in _hub("settings", tmp_path)
    said = _hub("settings", tmp_path, HF_TOKEN="hf_secret")
    assert ("A token of HF_TOKEN" in said, "hf_secret" in said) == (True, False)
    (tmp_path / "token").write_text("hf_secret")
    said = _hub("settings", tmp_path)
    assert ("A token of hf auth login" in said, "hf_secret" in said) == (True, False)
    assert "HF_HUB_OFFLINE is set" in _hub("settings", tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in _hub("reach", tmp_path, HF_HUB_OFFLINE="1")
    assert "does not start" in _hub("settings", tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="soon")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"status": 200, "body": b"{}"}, "'ok', '{} answers, and accepts the token.'"),
        ({"status": 401}, "'broken', '{} does not accept the token (401).'"),
        ({"status": 500}, "'broken', '{} answers with an error (500).'"),
    ],
)
def test_the_hub_is_asked(hub: LoopbackHub, tmp_path: Path, trouble: dict[str, Any], said: str) -> None:
    hub.trouble("GET .*whoami", **trouble)
    found = _hub("reach", tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN="user-token")
    assert said.format(hub.endpoint) in found
    assert "user-token" not in found


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    found = _hub("reach", tmp_path, HF_ENDPOINT="http://me:secret@127.0.0.1:9")
    assert "'broken', 'http://127.0.0.1:9 cannot be reached" in found
    assert "secret" not in found


def test_a_hub_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SECONDS", 0.01)
    monkeypatch.setattr(hub, "_asked", lambda: time.sleep(0.3))
    [finding] = hub.reach()
    assert (finding.state, "does not answer" in finding.found) == ("broken", True)
