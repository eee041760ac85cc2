"""The default precision of a device, and its capabilities."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dsactl.engine import device
from dsactl.engine.device import is_faster_in_bfloat16, resolve_device, resolve_precision
from dsactl.engine.gpus import gpu_fault
from dsactl.errors import DeviceError
from registry.notices import notify_once

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("can", "faster"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, True),
        ({"amx_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, False),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "cpu_name": "AMD EPYC"}, False),
        ({}, False),
    ],
)
def test_bfloat16_where_it_was_measured_to_be_faster(can: dict[str, object], faster: bool) -> None:
    assert is_faster_in_bfloat16(can) == faster


def test_numbers_that_vanish_are_none_in_any_thread() -> None:
    """Run in a new process, in which torch's threads have not started."""
    vanishing = "import torch, dsactl.engine.device as d; torch.set_num_threads(2); t = torch.full((10**6,), 1e-38)"
    ended = subprocess.run(
        [sys.executable, "-c", f"{vanishing}; print(int((t / 1e3).count_nonzero()), torch.get_num_threads())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert ended.stdout.split() == ["0", "2"]


@pytest.mark.parametrize(
    ("most", "amx", "avx512"), [("AVX2", 0, 0), ("avx512_core_bf16", 0, 1), ("ALL", 1, 1), ("", 1, 1), ("word", 1, 1)]
)
def test_what_onednn_is_kept_from_it_cannot_do(
    monkeypatch: pytest.MonkeyPatch, most: str, amx: bool, avx512: bool
) -> None:
    everything = {"amx_bf16": True, "avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: everything, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert device.capabilities() == {"amx_bf16": amx, "avx512_bf16": avx512}


def test_auto_goes_by_the_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for can, expected in (({"amx_bf16": True}, "bfloat16"), ({"avx512_bf16": True, "cpu_name": "Intel"}, "float32")):
        monkeypatch.setattr(device, "capabilities", lambda can=can: can)
        assert resolve_precision("auto", cpu) == expected
        assert resolve_precision("bfloat16", cpu) == "bfloat16", "as asked for"


Gpu = Callable[..., None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """Let this machine have one GPU, whose properties are answered or raise an error."""

    def pretend(
        capability: tuple[int, int] | Exception, kernels: tuple[str, ...] = ("sm_75", "sm_80", "sm_90")
    ) -> None:
        def answer(value: object) -> Callable[..., object]:
            def call(*_: object) -> object:
                if isinstance(capability, Exception):
                    raise capability
                return value

            return call

        gpu_fault.cache_clear()
        notify_once.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", answer("GPU 1000"))
        monkeypatch.setattr(torch.cuda, "get_device_capability", answer(capability))
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(kernels))
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


@pytest.mark.parametrize(
    ("capability", "kernels", "said"),
    [
        ((7, 0), ("sm_75", "sm_80"), "GPU 1000 is of compute capability 7.0"),
        ((9, 0), ("sm_75", "sm_80"), "is for sm_75, sm_80."),
        ((8, 0), ("sm_86",), "compute capability 8.0"),
        (
            RuntimeError("Found no NVIDIA driver on your system.\nPlease …"),
            (),
            "Found no NVIDIA driver on your system.",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use(
    gpu: Gpu,
    caplog: pytest.LogCaptureFixture,
    capability: tuple[int, int] | Exception,
    kernels: tuple[str, ...],
    said: str,
) -> None:
    gpu(capability, kernels)
    assert resolve_device("auto").type == "cpu"
    assert resolve_device("auto").type == "cpu"
    [notice] = caplog.messages
    assert notice.startswith("The GPU is not used: ")
    assert said in notice
    for name in ("cuda", "cuda:0"):
        with pytest.raises(DeviceError) as caught:
            resolve_device(name)
        assert said in caught.value.message
        assert 'device="cpu"' in caught.value.hint


@pytest.mark.parametrize(
    ("capability", "kernels"),
    [
        ((8, 6), ("sm_75", "sm_80")),
        ((9, 0), ("sm_90a",)),
        ((12, 1), ("sm_75", "compute_75")),
        ((8, 0), ()),
        ((9, 4), ("gfx942", "sm_90")),
    ],
)
def test_a_gpu_that_torch_can_use(
    gpu: Gpu, caplog: pytest.LogCaptureFixture, capability: tuple[int, int], kernels: tuple[str, ...]
) -> None:
    gpu(capability, kernels)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    assert caplog.messages == []


def test_an_old_driver_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    def unavailable() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update "
            "your GPU driver by … (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)",
            stacklevel=1,
        )
        return False

    notify_once.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", unavailable)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    assert caplog.messages == [
        "The GPU is not used: The NVIDIA driver on your system is too old (found version 11040)."
    ]
    with pytest.raises(DeviceError, match=r"0 CUDA devices found\. The NVIDIA driver on your system is too old"):
        resolve_device("cuda")
    assert not recwarn.list


def test_bfloat16_by_emulation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    with pytest.raises(DeviceError, match="does not support bfloat16"):
        resolve_precision("bfloat16", torch.device("cuda"))


@pytest.mark.parametrize("value", ["", "-1", "abc", "99", "0,0", "GPU-nonsense"])
def test_odd_values_of_cuda_visible_devices(value: str) -> None:
    """Whatever they do, nothing but notices of ours is written."""
    code = "from dsactl.engine.device import resolve_device; print(resolve_device().type)"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": value, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() in ("cpu", "cuda", "mps")
    assert all(line.startswith("The GPU is not used: ") for line in ended.stderr.splitlines())
    if value in ("", "-1"):
        assert ended.stderr == ""
