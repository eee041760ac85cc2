"""Compilation: its cache, where code for another processor is never used, and compilers that do not work."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compilers import needs_torch_compile

from dsactl.engine import compilation

ROOT = Path(__file__).parents[2]
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def test_each_kind_of_processor_has_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = compilation.code_folder()
    assert compilation.code_folder() == here
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert compilation.code_folder() != here
    monkeypatch.undo()
    monkeypatch.setattr(compilation, "capabilities", lambda: {"avx9000": True})
    assert compilation.code_folder() != here


def test_a_folder_of_the_users_is_used_and_torchs_own_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    compilation.compiled(torch.sin)
    assert cache_dir() == str(tmp_path)
    monkeypatch.delenv(VARIABLE)
    assert cache_dir() == os.environ[VARIABLE], "torch says its own folder where the user would"
    compilation.compiled(torch.sin)
    assert cache_dir() == str(compilation.code_folder())


def test_compiling_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_compiles", lambda: True)
    monkeypatch.delenv("DSACTL_COMPILE", raising=False)
    assert compilation.can_compile("cpu")
    assert not compilation.can_compile("cuda")
    monkeypatch.setenv("DSACTL_COMPILE", "0")
    assert not compilation.can_compile("cpu")


@pytest.mark.skipif(os.name != "posix", reason="the compiler is a script of a shell")
def test_a_broken_compiler_is_no_traceback(tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    compiler.chmod(0o755)
    own = {"CC": str(compiler), "CXX": str(compiler), VARIABLE: str(tmp_path / "code"), "PYTHONPATH": str(ROOT)}
    environment = {name: value for name, value in os.environ.items() if name != "DSACTL_COMPILE"} | own
    done = subprocess.run(
        [sys.executable, "-m", "dsactl", "env", "--json"], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "compiled" not in json.loads(done.stdout)["engine"]


def test_what_torch_logs_of_a_failed_trial_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("torch._dynamo.metrics_context")

    def fail(_: object) -> None:
        try:
            raise RuntimeError("no compiler")
        except RuntimeError:
            logger.exception("while compiling")
            raise

    monkeypatch.setattr(compilation, "compiled", fail)
    assert not compilation._compiles.__wrapped__()
    assert "while compiling" not in capfd.readouterr().err
    logger.error("another time")
    assert "another time" in capfd.readouterr().err


@needs_torch_compile
@pytest.mark.slow
def test_code_for_other_vectors_is_not_found(tmp_path: Path) -> None:
    """Takes half a minute. Two processes share a cache folder; the first compiles without vector instructions."""
    code = "import torch; from dsactl.engine.compilation import can_compile; assert can_compile('cpu'); "
    code += "print(torch.backends.cpu.get_cpu_capability())"
    environment = {**os.environ, VARIABLE: str(tmp_path)}
    environment.pop("ATEN_CPU_CAPABILITY", None)
    used = dict[str, str]()
    for more in ({"ATEN_CPU_CAPABILITY": "default"}, {}):
        process = subprocess.run(
            [sys.executable, "-c", code], env=environment | more, stdout=subprocess.PIPE, text=True
        )
        assert process.returncode == 0
        for path in tmp_path.rglob("*.main.cpp"):
            used.setdefault(path.read_text(), process.stdout.strip())
    assert {capability: "Vectorized" in loop for loop, capability in used.items()} == {
        capability: capability != "DEFAULT" for capability in ("DEFAULT", process.stdout.strip())
    }
