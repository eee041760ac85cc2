"""The default precision of a device, and its capabilities."""

import subprocess
import sys

import pytest
import torch

from dsactl.engine import device
from dsactl.engine.device import is_faster_in_bfloat16, resolve_precision


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
