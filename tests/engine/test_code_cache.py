"""Where compiled code is kept, and what is said where it cannot be."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from compilers import needs_compiler, needs_torch_compile

from dsactl.engine import code_cache, compilation, native

CPU = torch.device("cpu")


@pytest.fixture
def forget() -> Iterator[Callable[[], None]]:
    """Forget what was found in this process; called before and after the test too."""

    def caches() -> None:
        for function in (code_cache.problem, code_cache._temporary, native._found, compilation._compiles):
            function.cache_clear()

    caches()
    yield caches
    caches()


@pytest.fixture
def unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]) -> Path:
    """Let the user's cache folder lie in a file, where no folder can be created even by root."""
    forget()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("DSACTL_NATIVE", raising=False)
    return tmp_path / "file"


@needs_compiler
def test_a_temporary_folder_serves_and_the_reason_is_said(unusable: Path) -> None:
    assert native.library() is not None
    assert code_cache.code_cache("native").is_dir()
    [remark] = native.compiler_remark(CPU)
    assert str(unusable) in remark
    assert "XDG_CACHE_HOME" in remark


@needs_compiler
@pytest.mark.usefixtures("unusable")
def test_where_no_folder_serves_the_compiler_is_not_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.delenv("DSACTL_COMPILE", raising=False)
    assert native.library() is None
    [remark] = native.compiler_remark(CPU)
    assert "neither in the cache folder nor in a temporary one" in remark
    assert "compiler" not in remark
    assert not compilation.can_compile("cpu")


@pytest.mark.usefixtures("forget")
def test_a_noexec_file_system_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Flags:
        f_flag = os.ST_NOEXEC

    assert code_cache.why_unusable(tmp_path) is None
    monkeypatch.setattr(os, "statvfs", lambda path: Flags)
    assert "noexec" in (code_cache.why_unusable(tmp_path) or "")


def _program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "it ends with code 3"),
        ('case "$1" in --version) echo 1;; *) echo "x.h: fatal error: no header" >&2; exit 1;; esac', "no header"),
        (None, "No such file"),
        ("'", "CXX is not a command"),
    ],
)
@pytest.mark.usefixtures("forget")
def test_a_broken_compiler_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, reason: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DSACTL_NATIVE", raising=False)
    path = tmp_path / "compiler"
    monkeypatch.setenv("CXX", "'" if text == "'" else _program(path, text) if text else str(path))
    assert native.library() is None
    [remark] = native.compiler_remark(CPU)
    assert reason in remark
    assert text in (None, "'") or str(path) in remark


@needs_compiler
@pytest.mark.usefixtures("forget")
def test_the_next_compiler_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "CXX" in os.environ:
        pytest.skip("CXX names the only compiler")
    monkeypatch.delenv("DSACTL_NATIVE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _program(tmp_path / "c++", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert native.library() is not None


@needs_compiler
def test_a_damaged_library_is_built_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, forget: Callable[[], None]
) -> None:
    monkeypatch.delenv("DSACTL_NATIVE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "first"))
    assert native.library() is not None
    [built] = (tmp_path / "first" / "dsactl" / "native").iterdir()
    damaged = tmp_path / "second" / "dsactl" / "native" / built.name  # elsewhere: the first is loaded by its path
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"")
    forget()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "second"))
    assert native.library() is not None
    assert damaged.stat().st_size > 0


@needs_torch_compile
@pytest.mark.slow
def test_torch_compiles_where_the_folder_of_its_variable_is_unusable(
    monkeypatch: pytest.MonkeyPatch, unusable: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(unusable / "inductor"))
    monkeypatch.delenv("DSACTL_COMPILE", raising=False)
    assert compilation.can_compile("cpu")
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) == compilation.code_folder()


def test_a_folder_of_torch_s_that_is_unusable_is_left_before_torch_loads_its_compiler(unusable: Path) -> None:
    """Differentiating over several classes at once loads it, also where nothing is compiled."""
    code = "import dsactl.engine.device, torch._dynamo.package"
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(unusable / "inductor")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "TORCHINDUCTOR_CACHE_DIR is not used: " in done.stderr
