"""The cache of compiled code: code for another processor is never used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compilers import needs_torch_compile

from dsactl.engine import compilation

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
