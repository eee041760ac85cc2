"""CUDA graphs: work captured once and replayed without Python, without separate launches and host synchronisation.

A captured function reads and writes tensors at fixed addresses; inputs that change between replays are copied into them
beforehand. It must not read a tensor's value on the host, nor move a tensor between host and device.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

_WARM_UP = 3  # runs before the capture, for the libraries' choice of algorithms and their workspaces


class Graph(Generic[Result]):
    """A function without arguments, captured on construction.

    Attributes:
        result: the function's return value during the capture; every replay writes into the same tensors.

    Args:
        function: works on the current CUDA device. It runs a few times before the capture.

    Raises:
        RuntimeError: the function cannot be captured.
        torch.OutOfMemoryError: the memory does not suffice for the graph.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        before, reason = torch.cuda.current_stream(), None
        try:
            with torch.cuda.graph(self._graph, stream=stream):
                try:
                    self.result = function()
                except Exception as error:
                    reason = error
                    raise
        except Exception as error:
            # The end of a broken capture fails too, with an error that hides the reason, before it leaves the stream.
            torch.cuda.set_stream(before)
            raise (reason or error) from None

    def replay(self) -> Result:
        """Run the captured work again and return its result, which overwrites that of the previous replay."""
        self._graph.replay()
        return self.result


def send(value: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to another device without waiting for the device's pending work."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
