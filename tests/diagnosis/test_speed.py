"""The measured speed, and what is said of it."""

import pytest
import torch

from dsactl.diagnosis import speed
from dsactl.diagnosis.speed import Rate, judged, measure


def test_the_speed_is_that_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SIDE", 64)
    before = torch.get_num_threads()
    found = measure(torch.float32, before + 1, seconds=0.01)
    assert torch.get_num_threads() == before
    assert found.gflops > 0
    moments = iter([0.0, 0.1, 0.2, 2.0, 2.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(moments))
    used = iter([5.0, 7.0])
    monkeypatch.setattr(speed.time, "process_time", lambda: next(used))
    # Two products by 0.2 s, and no third, since the next moment is 2 s.
    assert measure(torch.float32, 2, seconds=1.0) == Rate(pytest.approx(2 * 2e-9 * 64**3 / 2.0), 0.5)


@pytest.mark.parametrize(
    ("single", "both", "half", "default", "said", "advice"),
    [
        (Rate(50, 1.0), Rate(99, 1.0), Rate(300, 1.0), "bfloat16", "float32 50 GFLOP/s with 1 thread, 99 with 2", ""),
        (
            Rate(50, 1.0),
            Rate(55, 1.0),
            Rate(300, 1.0),
            "bfloat16",
            "2 threads are not faster than one (1.1 times)",
            "quota",
        ),
        (Rate(50, 0.5), Rate(50, 0.5), Rate(300, 0.5), "bfloat16", "One thread had 0.50 of a core.", "above"),
        (Rate(50, 1.0), Rate(99, 1.0), Rate(20, 1.0), "bfloat16", "is the slower one here", 'precision="float32"'),
        (Rate(50, 1.0), Rate(99, 1.0), Rate(20, 1.0), "float32", "bfloat16 20 GFLOP/s", ""),
        (Rate(50, 1.0), Rate(99, 1.0), None, "float32", "float32 50 GFLOP/s with 1 thread, 99 with 2.", ""),
    ],
)
def test_what_the_speed_means(
    monkeypatch: pytest.MonkeyPatch,
    single: Rate,
    both: Rate,
    half: Rate | None,
    default: str,
    said: str,
    advice: str,
) -> None:
    monkeypatch.setattr(speed, "resolve_precision", lambda name, device: default)
    finding = judged({"float32": {1: single, 2: both}} | ({"bfloat16": {1: half, 2: half}} if half else {}))
    assert said in finding.found
    assert (finding.state, bool(finding.advice)) == (("slow", True) if advice else ("ok", False))
    assert advice in finding.advice
    assert finding.figures["float32_gflops_2_threads"] == both.gflops


def test_one_thread_is_compared_with_none() -> None:
    finding = judged({"float32": {1: Rate(50, 1.0)}})
    assert (finding.state, finding.found) == ("ok", "Matrix products: float32 50 GFLOP/s with 1 thread.")
