"""Gradient matching (Sections 3.1 and 3.2, eq. 3), as pure functions.

    min_S  D(∇_θ L(A_ω(S), θ), ∇_θ L(A_ω(T), θ))

Shapes: N images, K classes, I synthetic images per class, R real images per class, C, H, W. A gradient is a dict from a
parameter's name to a tensor of the parameter's shape; `_K` marks gradients stacked over classes.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn import functional as F

from dsactl.engine.device import at_least_float32, autocast
from dsactl.methods.gradient_matching.variant import Match
from dsactl.networks.build import Buffers, Parameters

Distance = Literal["ours", "mse", "cos", "l1"]

_EPSILON = 1e-6

Loss = Callable[[Parameters, Buffers, Tensor, Tensor], Tensor]
MatchingGradient = Callable[[Parameters, Buffers, Tensor, Tensor, Parameters], tuple[Tensor, Tensor]]


def _row_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return Σ over rows of 1 − ⟨g, g'⟩ / (‖g‖‖g'‖ + ε), a row being the weights of one output unit."""
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    dot: Tensor = (ours * theirs).sum(1)
    norms: Tensor = torch.linalg.vector_norm(ours, dim=1) * torch.linalg.vector_norm(theirs, dim=1)
    return (1 - dot / (norms + _EPSILON)).sum()


def _concatenate(gradient: Parameters) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in gradient.values()])


def distance(synthetic: Parameters, real: Parameters, metric: Distance = "ours") -> Tensor:
    """Return D(g, g'), a scalar: float64 for float64 gradients, otherwise float32.

    Args:
        synthetic, real: two gradients of one network.
        metric: "ours", the layer-wise distance of the paper: for every tensor of more than one dimension, viewed as
            rows per output unit (convolution out × in·h·w, linear out × in, layer norm c × h·w), the sum over rows of
            1 − cosine; one-dimensional tensors (biases, scales) do not count. "mse", the squared L2 norm of the
            difference of the whole gradients, biases included. "cos", 1 − cosine of the whole gradients. "l1", the sum
            of the absolute differences (IDC).
    """
    synthetic = {name: at_least_float32(tensor) for name, tensor in synthetic.items()}
    real = {name: at_least_float32(real[name]) for name in synthetic}
    match metric:
        case "ours":
            rows = [_row_distance(synthetic[name], real[name]) for name in synthetic if synthetic[name].ndim > 1]
            return torch.stack(rows).sum()
        case "mse":
            return (_concatenate(synthetic) - _concatenate(real)).square().sum()
        case "l1":
            return (_concatenate(synthetic) - _concatenate(real)).abs().sum()
        case "cos":
            ours, theirs = _concatenate(synthetic), _concatenate(real)
            norms: Tensor = torch.linalg.vector_norm(ours) * torch.linalg.vector_norm(theirs)
            return 1 - (ours * theirs).sum() / (norms + _EPSILON)


def loss_function(network: nn.Module, precision: str = "float32") -> Loss:
    """Return L(parameters, buffers, images, labels): the mean cross-entropy of a batch, as a pure function.

    The caller sets the network's mode (training or evaluation), which affects only batch norm.
    """

    def loss(parameters: Parameters, buffers: Buffers, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        with autocast(images_NCHW.device, precision):
            logits_NK = functional_call(network, (parameters, buffers), (images_NCHW,))
        return F.cross_entropy(at_least_float32(logits_NK), labels_N)

    return loss


def real_gradient(
    loss: Loss,
    parameters: Parameters,
    buffers: Buffers,
    images_NCHW: Tensor,
    label: int | Tensor,
    at_once: int | None = None,
) -> Parameters:
    """Return ∇_θ L of one class's real batch (Algorithm 1, line 7), by plain first-order autograd.

    Args:
        loss: see `loss_function`.
        parameters, buffers: θ, and the running statistics.
        images_NCHW: the batch, augmented.
        label: its class; a tensor without dimensions if its value must not be read.
        at_once: images per pass, whose activations fit into a cache; None for all. The result is the same up to the
            order of float sums, and the network must treat images one by one: no batch norm in training mode.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
    count = images_NCHW.shape[0]
    labels_N = torch.as_tensor(label, device=images_NCHW.device).expand(count)
    total: tuple[Tensor, ...] | list[Tensor] = ()
    for part in torch.split(images_NCHW, at_once or count):
        value = loss(leaves, buffers, part, labels_N[: len(part)]) * (len(part) / count)
        gradient = torch.autograd.grad(value, list(leaves.values()))
        total = torch._foreach_add(total, gradient) if total else gradient
    return dict(zip(leaves, total, strict=True))


def matching_gradient(
    loss: Loss, *, metric: Distance = "ours", match: Match = "all", stacked: bool = True
) -> MatchingGradient:
    """Return the matching function of Algorithm 1 (line 8):

        matching_gradient(parameters, buffers, images_KICHW, labels_K, real_K) -> distance_K, gradient_KICHW

    with distance_c = D(∇_θ L(images_c, c), real_c) and gradient_c its gradient with respect to the class's images.
    Classes are independent: a part of them gives the same part of the result.

    Args:
        loss: see `loss_function`.
        metric: see `distance`.
        match: "all" gradients, or "conv" for those of tensors of four dimensions, the weights of convolutions.
        stacked: whether all classes are one batch of `torch.func.vmap`, or are computed one after the other. The result
            is the same up to the order of float sums.
    """

    def class_distance(
        images_ICHW: Tensor, parameters: Parameters, buffers: Buffers, label: Tensor, real: Parameters
    ) -> Tensor:
        labels_I = label.expand(images_ICHW.shape[0])
        synthetic = grad(loss)(parameters, buffers, images_ICHW, labels_I)
        if match == "conv":
            synthetic = {name: tensor for name, tensor in synthetic.items() if tensor.ndim == 4}
        return distance(synthetic, real, metric)

    one_class = grad_and_value(class_distance)

    def all_at_once(
        parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, labels_K: Tensor, real_K: Parameters
    ) -> tuple[Tensor, Tensor]:
        gradient_KICHW, distance_K = vmap(one_class, in_dims=(0, None, None, 0, 0))(
            images_KICHW, parameters, buffers, labels_K, real_K
        )
        return distance_K, gradient_KICHW

    def one_by_one(
        parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, labels_K: Tensor, real_K: Parameters
    ) -> tuple[Tensor, Tensor]:
        results = [
            one_class(images, parameters, buffers, label, {name: tensor[index] for name, tensor in real_K.items()})
            for index, (images, label) in enumerate(zip(images_KICHW, labels_K, strict=True))
        ]
        return torch.stack([value for _, value in results]), torch.stack([image for image, _ in results])

    return all_at_once if stacked else one_by_one
