"""GPUs: real ones where there are some, and stand-ins for drivers and builds that do not work."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dsactl.diagnosis import gpu
from dsactl.diagnosis.finding import Finding
from dsactl.engine.gpus import gpu_fault

CPU = torch.device("cpu")


@pytest.mark.gpu
def test_a_real_gpu_computes_and_captures() -> None:
    found = {finding.check: finding for finding in gpu.cuda()}
    assert found["CUDA"].state == "ok"
    assert found["cuda:0 graphs"].state == "ok", found
    assert found["cuda:0 graphs"].figures["relative_error"] <= 1e-6
    assert not [each for each in found.values() if each.state == "broken"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Let torch have this build and these devices, and nvidia-smi say this; None where it is missing."""

    def pretend(build: str | None, count: int = 0, why: str = "", smi: str | None = None) -> None:
        gpu_fault.cache_clear()
        monkeypatch.setattr(torch.version, "cuda", build)
        monkeypatch.setattr(torch.version, "hip", None, raising=False)
        monkeypatch.setattr(gpu, "visible_gpus", lambda: (count, why))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if smi is not None:
            (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{smi}'\n")
            (tmp_path / "nvidia-smi").chmod(0o755)
        shell = Path(shutil.which("sh") or "/bin/sh").parent if smi is not None else tmp_path / "nothing"
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{shell}")

    yield pretend
    gpu_fault.cache_clear()


@pytest.mark.skipif(os.name != "posix", reason="nvidia-smi is a script of a shell")
@pytest.mark.parametrize(
    ("build", "why", "smi", "state", "said", "advice"),
    [
        (None, "", None, "not here", "is built for the CPU only.", ""),
        (
            None,
            "",
            "570.1",
            "slow",
            "built for the CPU only, and nvidia-smi is here.",
            "pip install --force-reinstall torch",
        ),
        ("12.8", "", None, "not here", "There is no NVIDIA GPU.", ""),
        ("12.8", "The driver is too old.", "470.1", "broken", "The driver is too old.", "driver 470.1"),
        ("12.8", "", "GPU 1000", "broken", "nvidia-smi finds GPU 1000, and torch does not.", "pytorch.org"),
    ],
)
def test_no_gpu_that_torch_sees(
    fake: Callable[..., None], build: str | None, why: str, smi: str | None, state: str, said: str, advice: str
) -> None:
    fake(build, why=why, smi=smi)
    [finding] = gpu.cuda()
    assert (finding.state, said in finding.found) == (state, True), finding
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)


def test_gpus_that_are_hidden(fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake("12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [finding] = gpu.cuda()
    assert (finding.state, finding.advice) == ("not here", "unset CUDA_VISIBLE_DEVICES")


def test_gpus_that_fail(fake: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """One is too old for torch, one fails as soon as it is asked; the second is still asked."""
    fake("12.8", 2)
    monkeypatch.setattr(gpu, "gpu_fault", lambda index: None if index else "GPU 1 is of compute capability 3.0.")

    def fail(_: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA error: unknown error\nCompile with …")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    general, old, failing = gpu.cuda()
    assert (general.check, general.state, "CUDA 12.8" in general.found) == ("CUDA", "ok", True)
    assert (old.check, old.state, old.found) == ("cuda:0", "broken", "GPU 1 is of compute capability 3.0.")
    assert (failing.check, failing.state) == ("cuda:1", "broken")
    assert failing.found == "It does not compute: CUDA error: unknown error."


@pytest.mark.parametrize(("free", "state"), [(10**8, "slow"), (10**10, "ok")])
def test_the_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * 10**10))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU 1000")
    found = gpu._memory(torch.device("cuda", 0))
    assert (found.check, found.state, bool(found.advice)) == ("cuda:0", state, state == "slow")
    assert "GPU 1000, compute capability 9.0" in found.found


def _computed(monkeypatch: pytest.MonkeyPatch, wrong: float) -> Finding:
    """Compare the CPU with itself, one of them wrong by a factor."""
    right, calls = gpu._gradient, iter((1.0 + wrong, 1.0))
    monkeypatch.setattr(gpu, "_gradient", lambda images, filters: next(calls) * right(images, filters))
    [found] = gpu.computed(CPU)
    monkeypatch.undo()
    return found


@pytest.mark.parametrize(("wrong", "state"), [(0.0, "ok"), (1e-6, "ok"), (1e-3, "broken"), (float("nan"), "broken")])
def test_a_device_that_computes_something_else(monkeypatch: pytest.MonkeyPatch, wrong: float, state: str) -> None:
    assert _computed(monkeypatch, wrong).state == state


def test_tf32_that_is_forced_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    found = _computed(monkeypatch, 1e-3)
    assert (found.state, found.advice) == ("slow", "unset NVIDIA_TF32_OVERRIDE")


class _Replayed:
    """Stands for a captured graph: computes again when it is replayed."""

    def __init__(self, function: Callable[[], torch.Tensor]) -> None:
        self.replay = function


class _Stale(_Replayed):
    """A graph that does not see new inputs."""

    def __init__(self, function: Callable[[], torch.Tensor]) -> None:
        first = function()
        self.replay = lambda: first


def _refuse(_: Callable[[], torch.Tensor]) -> None:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


@pytest.mark.parametrize(("graph", "state"), [(_Replayed, "ok"), (_Stale, "broken"), (_refuse, "slow")])
def test_graphs_are_compared_with_the_uncaptured_work(
    monkeypatch: pytest.MonkeyPatch, graph: Callable[..., object], state: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(gpu, "Graph", graph)
    found = gpu._graphs(CPU)
    assert (found.check, found.state) == ("cpu graphs", state)
    assert bool(found.advice) == (state != "ok")


def test_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    [found] = gpu.mps()
    assert (found.check, found.state) == ("MPS", "not here")
