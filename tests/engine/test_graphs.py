"""Captures that fail: what is raised, and whether the device can still be used."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dsactl.engine.graphs import Graph

CURRENT = SimpleNamespace(wait_stream=lambda other: None)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The streams that are set, with stand-ins for CUDA: the end of a capture fails if the function did."""

    @contextmanager
    def capture(graph: object, stream: object) -> Iterator[None]:  # noqa: ARG001
        try:
            yield
        except Exception:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    found: list[Any] = []
    stands_in = {
        "Stream": lambda: SimpleNamespace(wait_stream=lambda other: None),
        "current_stream": lambda: CURRENT,
        "stream": nullcontext,
        "set_stream": found.append,
        "CUDAGraph": object,
        "graph": capture,
    }
    for name, value in stands_in.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return found


@pytest.mark.parametrize("reason", [RuntimeError("cannot be captured"), torch.OutOfMemoryError("no memory")])
def test_the_reason_of_a_failed_capture_is_raised(reason: Exception, streams: list[Any]) -> None:
    runs = 0

    def fails_in_the_capture() -> None:
        nonlocal runs
        runs += 1
        if runs == 4:
            raise reason

    with pytest.raises(type(reason), match=str(reason)):
        Graph(fails_in_the_capture)
    assert streams == [CURRENT], "work goes on where it was"


def test_a_capture_that_works_sets_no_stream(streams: list[Any]) -> None:
    assert Graph(lambda: 3).result == 3
    assert streams == []


@pytest.mark.gpu
def test_a_gpu_works_on_after_a_capture_that_failed() -> None:
    values, stream = torch.ones(3, device="cuda"), torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="captur"):
        Graph(lambda: values.sum().item())
    assert torch.cuda.current_stream() == stream
    assert (values + 1).sum().item() == 6
    graph = Graph(lambda: values * 2)
    values.fill_(4)
    assert graph.replay().tolist() == [8, 8, 8]
