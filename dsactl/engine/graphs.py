"""Work captured once as a CUDA graph and replayed: no Python, no launches one by one, nothing waits for the host.

A captured function reads and writes tensors that stay where they are; what changes from replay to replay is copied into
them before. It must not ask a tensor for its value, nor move one between host and device.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_WARM_UP = 3  # runs before the capture, for the libraries' own choices and workspaces


class Graph(Generic[Result]):
    """A function without arguments, captured when made.

    Attributes:
        result: what the function returned while it was captured; a replay writes into the same tensors.

    Args:
        function: its work happens on the current CUDA device. It runs a few times before it is captured.

    Raises:
        RuntimeError: the function does what cannot be captured.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self.result = function()

    def replay(self) -> Result:
        """Do the work again; what an earlier replay returned is overwritten."""
        self._graph.replay()
        return self.result


def send(value: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor on another device, without waiting for what the device still has to do."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
