"""Fused convolution, instance norm, ReLU and average pooling, where this machine supports it (see `engine.native`).

The fused layer has first-order gradients only, which suffice for real batches and for training; the matching distance
is differentiated twice and uses the plain layers.

Shapes: N images, C channels, H, W, O output channels; channels-last memory, for which convolutions are faster.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dsactl.engine.native import library

LANES = 16  # channels of a vector
_TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

_Pair = tuple[int, int]


@dataclass(frozen=True)
class _Settings:
    """Constants of a block: the convolution's stride, padding and dilation; pool 1 or 2; ε."""

    stride: _Pair
    padding: _Pair
    dilation: _Pair
    pool: int
    eps: float


class _Block(torch.autograd.Function):
    """A fused block: x, weight, bias, γ, β → pooled output.

    The norm cancels the convolution's bias, so the bias is left out and its gradient is zero.
    """

    @staticmethod
    def forward(
        ctx: Any, x_NCHW: Tensor, weight: Tensor, bias_O: Tensor, gamma_O: Tensor, beta_O: Tensor, settings: _Settings
    ) -> Tensor:
        device = x_NCHW.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NCHW.dtype
        x_NCHW, weight = _channels_last(x_NCHW.to(dtype)), _channels_last(weight.to(dtype))
        gamma_O, beta_O = gamma_O.contiguous(), beta_O.contiguous()
        convolved = _channels_last(
            torch.conv2d(x_NCHW, weight, None, settings.stride, settings.padding, settings.dilation)
        )
        count, channels, height, width = convolved.shape
        pooled = torch.empty(
            (count, channels, height // settings.pool, width // settings.pool),
            dtype=dtype,
            memory_format=torch.channels_last,
        )
        mean_NO, rstd_NO = torch.empty(2, count, channels).unbind()
        getattr(library(), f"instance_block_forward_{_TYPES[dtype]}")(
            *_pointers(convolved, gamma_O, beta_O, pooled, mean_NO, rstd_NO),
            *_sizes(convolved, settings.pool),
            ctypes.c_float(settings.eps),
            ctypes.c_int(torch.get_num_threads()),
        )
        ctx.save_for_backward(x_NCHW, weight, convolved, gamma_O, beta_O, mean_NO, rstd_NO)
        ctx.settings, ctx.bias_shape = settings, bias_O.shape
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_NCHW, weight, convolved, gamma_O, beta_O, mean_NO, rstd_NO = ctx.saved_tensors
        settings: _Settings = ctx.settings
        gradient = gradient.to(convolved.dtype).contiguous(memory_format=torch.channels_last)
        incoming = torch.empty_like(convolved)
        gamma_NO, beta_NO = torch.empty(2, *mean_NO.shape).unbind()
        getattr(library(), f"instance_block_backward_{_TYPES[convolved.dtype]}")(
            *_pointers(convolved, gradient, gamma_O, beta_O, mean_NO, rstd_NO, incoming, gamma_NO, beta_NO),
            *_sizes(convolved, settings.pool),
            ctypes.c_int(torch.get_num_threads()),
        )
        x_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
            incoming,
            x_NCHW,
            weight,
            None,
            settings.stride,
            settings.padding,
            settings.dilation,
            False,
            (0, 0),
            1,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False),
        )
        # The weights' gradient takes as long as that of the images, which is all that some objectives need.
        weight_gradient = None if weight_gradient is None else weight_gradient.float()
        bias_gradient = torch.zeros(ctx.bias_shape)
        return x_gradient, weight_gradient, bias_gradient, gamma_NO.sum(0), beta_NO.sum(0), None


def _channels_last(x_NCHW: Tensor) -> Tensor:
    """Make a tensor channels-last in memory, with unambiguous strides if C is 1, where both layouts agree."""
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = x_NCHW.shape
    return x_NCHW.as_strided(x_NCHW.shape, (channels * height * width, 1, width * channels, channels))


def _pointers(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _sizes(x_NCHW: Tensor, pool: int) -> list[ctypes.c_int64]:
    count, channels, height, width = x_NCHW.shape
    return [ctypes.c_int64(number) for number in (count, height, width, channels, pool)]


class FusedLayers(nn.Sequential):
    """A sequence of layers that runs fused blocks where possible: same layers, parameters and names.

    A float64 input passes through the plain layers.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the output of the last layer; inputs are CPU tensors."""
        layers: list[Any] = list(self)
        while layers:
            length, pool = _block(layers)
            if length and x_NCHW.dtype in _TYPES:
                conv, norm = layers[0], layers[1]
                settings = _Settings(conv.stride, conv.padding, conv.dilation, pool, norm.eps)
                x_NCHW = _Block.apply(x_NCHW, conv.weight, conv.bias, norm.weight, norm.bias, settings)
            else:
                length, x_NCHW = 1, layers[0](x_NCHW)
            layers = layers[length:]
        return x_NCHW


def _block(layers: list[Any]) -> tuple[int, int]:
    """Return the number of leading layers that form a block, and its pooling: 0 for no block, 1 for none, 2 for 2×2."""
    match layers:
        case [nn.Conv2d() as conv, nn.GroupNorm() as norm, nn.ReLU(), *rest]:
            plain = conv.groups == 1 and conv.bias is not None and conv.padding_mode == "zeros"
            if not plain or norm.num_groups != norm.num_channels or norm.num_channels % LANES:
                return 0, 0
            match rest:
                case [nn.AvgPool2d(kernel_size=2, stride=2, padding=0), *_]:
                    return 4, 2
                case _:
                    return 3, 1
        case _:
            return 0, 0


def fuse(network: nn.Module) -> nn.Module:
    """Replace a network's sequences of layers by fused ones, in place; without the CPU extension nothing changes.

    The plain and the fused network take the same parameters, and give the same logits and first-order gradients up to
    the order of float sums.

    Returns:
        The network.
    """
    if library() is not None:
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Sequential:
                    setattr(parent, name, FusedLayers(*child))
    return network
