"""Configurable layers, and the arithmetic of image sizes.

Sizes are (height, width). Every network computes its shapes with these functions before it creates a layer, so that an
impossible one is refused with the reason instead of a stack trace from inside a convolution.
"""

from typing import Literal

from torch import Tensor, nn

from dsactl.engine.device import at_least_float32
from dsactl.errors import NetworkError

Norm = Literal["instance", "batch", "layer", "group", "none"]
Activation = Literal["relu", "sigmoid", "leakyrelu", "swish"]
Pooling = Literal["avg", "max", "none"]

Size = tuple[int, int]


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm in at least float32: torch has no second derivative of it in bfloat16 on a CPU."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N×C×H×W in float32, or in float64 for a float64 input."""
        return super().forward(at_least_float32(x_NCHW))


class LayerNorm(nn.LayerNorm):
    """Layer norm in at least float32, for the same reason."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return N×C×H×W in float32, or in float64 for a float64 input."""
        return super().forward(at_least_float32(x_NCHW))


def shrink(size: Size, kernel: int, padding: int = 0, stride: int = 1, *, where: str) -> Size:
    """Return the size after a convolution or pooling.

    Args:
        size: input height and width.
        kernel, padding, stride: of the layer.
        where: the layer's name, for the error message.

    Raises:
        NetworkError: the output would be empty.
    """
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)
    if min(height, width) < 1:
        raise NetworkError(f"{where} needs at least {kernel}×{kernel} pixels and gets {size[0]}×{size[1]}.")
    return height, width


def normalisation(kind: Norm, channels: int, size: Size, *, where: str) -> list[nn.Module]:
    """Return the norm layer, as a list that is empty for "none".

    Args:
        kind: "instance" (one group per channel), "group" (4 groups), "layer" (over C×H×W), "batch" or "none";
            all affine.
        channels: C of the input.
        size: height and width of the input.
        where: the layer's name, for the error message.

    Raises:
        NetworkError: instance norm of a single pixel, which is zero for every image.
    """
    match kind:
        case "none":
            return []
        case "batch":
            return [BatchNorm2d(channels)]
        case "layer":
            return [LayerNorm([channels, *size])]
        case "group":
            return [nn.GroupNorm(4, channels)]
        case "instance":
            if size == (1, 1):
                raise NetworkError(f"{where} is an instance norm of a 1×1 map, which is always zero.")
            return [nn.GroupNorm(channels, channels)]


def activation(kind: Activation) -> nn.Module:
    """Return the activation layer; leaky ReLU has slope 0.01, swish is x·sigmoid(x)."""
    match kind:
        case "relu":
            return nn.ReLU()
        case "sigmoid":
            return nn.Sigmoid()
        case "leakyrelu":
            return nn.LeakyReLU(0.01)
        case "swish":
            return nn.SiLU()


def pooling(kind: Pooling) -> list[nn.Module]:
    """Return 2×2 pooling with stride 2, as a list that is empty for "none"."""
    match kind:
        case "none":
            return []
        case "avg":
            return [nn.AvgPool2d(2)]
        case "max":
            return [nn.MaxPool2d(2)]
