"""Which precision a device gets if none is asked for."""

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


def test_auto_goes_by_the_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for can, expected in (({"amx_bf16": True}, "bfloat16"), ({"avx512_bf16": True, "cpu_name": "Intel"}, "float32")):
        monkeypatch.setattr(device, "capabilities", lambda can=can: can)
        assert resolve_precision("auto", cpu) == expected
        assert resolve_precision("bfloat16", cpu) == "bfloat16", "as asked for"
