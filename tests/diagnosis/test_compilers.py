"""Compilers that work, that do not, that are missing and that are turned off."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from compilers import needs_compiler, needs_torch_compile

from dsactl.diagnosis import compilers
from dsactl.engine import code_cache, native
from dsactl.engine.code_cache import TORCHS_FOLDER

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what was found in this process before, and after."""
    for name in ("DSACTL_NATIVE", "DSACTL_COMPILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compilers, "resolve_device", lambda name: torch.device("cpu"))
    functions = (native._found, code_cache.problem, code_cache._temporary)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


@needs_compiler
def test_a_compiler_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [found] = compilers.cpp()
    assert (found.state, found.advice) == ("ok", "")
    assert found.figures["seconds"] > 0


def test_a_compiler_that_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [found] = compilers.cpp()
    assert found.state == "broken"
    assert f"{script} does not work (it ends with code 3)" in found.found
    assert found.advice.startswith("unset CXX")
    monkeypatch.setattr(compilers, "resolve_device", lambda name: torch.device("cuda"))
    [found] = compilers.cpp()
    assert (found.state, found.advice) == ("not here", "")
    assert "The GPU here does not need it." in found.found
    monkeypatch.setenv("CXX", "'")
    native._found.cache_clear()
    assert "CXX is not a command" in next(compilers.cpp()).found


def test_no_compiler_is_slow_and_not_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    [found] = compilers.cpp()
    assert (found.state, "No C++ compiler" in found.found, "apt install g++" in found.advice) == ("slow", True, True)
    monkeypatch.setattr(
        compilers, "compilation_error", lambda constant: RuntimeError("Command:\na.cpp:1: error: no g++.")
    )
    [found] = compilers.torch_compile()
    assert (found.state, "(a.cpp:1: error: no g++)" in found.found) == ("slow", True)


def test_compilers_that_are_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSACTL_NATIVE", "0")
    monkeypatch.setenv("DSACTL_COMPILE", "0")
    [ours], [torchs] = compilers.cpp(), compilers.torch_compile()
    assert (ours.state, ours.advice) == ("slow", "unset DSACTL_NATIVE")
    assert (torchs.state, torchs.advice) == ("slow", "unset DSACTL_COMPILE")


@needs_compiler
def test_a_cache_folder_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    _, found = compilers.cpp()
    assert (found.check, found.state) == ("code cache", "slow")
    assert str(tmp_path / "file") in found.found
    assert "XDG_CACHE_HOME" in found.advice


@needs_torch_compile
@pytest.mark.slow
def test_torch_really_compiles_each_time() -> None:
    """Each time a function that is in no cache, so that a compiler that broke since is found out."""
    counts = []
    for _ in range(3):
        [found] = compilers.torch_compile()
        assert (found.state, found.figures["seconds"] > 0) == ("ok", True), found
        counts.append(len(list(Path(os.environ[TORCHS_FOLDER]).rglob("*.main.cpp"))))
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="/bin/false")
def test_a_compiler_that_torch_cannot_use() -> None:
    code = "from dsactl.diagnosis.compilers import torch_compile; print(*torch_compile())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CXX": "/bin/false", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "state='broken'" in ended.stdout
    assert "/bin/false" in ended.stdout
    assert "Traceback" not in ended.stderr
