"""Construction of a module from a `NetworkSpec`, and of freshly drawn parameters."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from dsactl.errors import NetworkError
from dsactl.networks.alexnet import AlexNet
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.convnet import ConvNet
from dsactl.networks.layers import Size
from dsactl.networks.lenet import LeNet
from dsactl.networks.mlp import MLP
from dsactl.networks.resnet import ResNet18
from dsactl.networks.vgg import VGG11

Parameters = dict[str, Tensor]
"""A network's parameters, or its gradients, by name."""

Buffers = dict[str, Tensor]
"""A network's running statistics, by name; empty without batch norm."""


def build(spec: NetworkSpec, channels: int, size: Size, classes: int) -> nn.Module:
    """Build the network for images of C `channels` and `size` (H, W), with K `classes` outputs.

    Its weights come from torch's global generator; `structure` and `initial_state` do not use that.

    Raises:
        NetworkError: the images are too small for the network; the message names the layer and the reason.
    """
    spec = spec.resolve(channels, size)
    try:
        match spec.arch:
            case "convnet":
                variants: dict[str, Any] = {
                    "depth": spec.depth,
                    "width": spec.width,
                    "norm": spec.norm,
                    "act": spec.activation,
                    "pool": spec.pooling,
                }
                return ConvNet(channels, size, classes, **variants)
            case "mlp":
                return MLP(channels, size, classes)
            case "lenet":
                return LeNet(channels, size, classes)
            case "alexnet":
                return AlexNet(channels, size, classes)
            case "vgg11":
                return VGG11(channels, size, classes)
            case "vgg11bn":
                return VGG11(channels, size, classes, norm="batch")
            case "resnet18":
                return ResNet18(channels, size, classes)
            case "resnet18bn":
                return ResNet18(channels, size, classes, norm="batch")
            case "resnet18bn_ap":
                return ResNet18(channels, size, classes, norm="batch", average=True)
            case _:
                raise AssertionError(f"{spec.arch} is in the catalogue and cannot be built")
    except NetworkError as error:
        raise NetworkError(
            f"{spec.label(channels, size)} cannot take {channels}×{size[0]}×{size[1]} images: {error.message}",
            "Use another `arch`, a smaller `depth`, or larger images.",
        ) from None


def structure(spec: NetworkSpec, channels: int, size: Size, classes: int) -> nn.Module:
    """Build the network without weights, to be called with parameters from elsewhere.

    Takes and raises what `build` does, and draws nothing.
    """
    with torch.device("meta"):
        return build(spec, channels, size, classes)


def feature_extractor(network: nn.Module) -> nn.Module:
    """Remove the last linear layer of a network, in place, so that it returns that layer's inputs: N×D features.

    Its parameters and buffers are those of the network, without the layer's.

    Raises:
        NetworkError: the network has no linear layer.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise NetworkError("The network has no linear layer, whose input would be the features.", "Use another `arch`.")
    parent, _, child = names[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return network


def count_outputs(network: nn.Module, images: int, shape: tuple[int, ...]) -> int:
    """Count the numbers that all layers of a network output together, including the last.

    Args:
        network: without weights, see `structure`.
        images: number of images.
        shape: shape of an image, C×H×W.
    """
    return images * sum(math.prod(output) for _, output in output_shapes(network, shape))


def output_shapes(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[nn.Module, torch.Size]]:
    """Find every layer's output shape for one image, in the order of execution.

    An empty batch passes through the network: torch's meta device would load its compiler for that, which takes longer
    than a short run. It is used only for networks whose weights do not fit in this machine's memory.

    Args:
        network: without weights, see `structure`; it is not changed.
        shape: shape of an image, C×H×W.
    """
    device = "cpu"
    try:
        own = copy.deepcopy(network).to_empty(device=device)
    except RuntimeError:
        device = "meta"
        own = copy.deepcopy(network)
    found: list[tuple[nn.Module, torch.Size]] = []
    for module in own.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda layer, _inputs, output: found.append((layer, output.shape[1:])))
    with torch.no_grad():
        own.eval()(torch.empty(0, *shape, device=device))
    return found


def initial_state(
    network: nn.Module, generator: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[Parameters, Buffers]:
    """Draw a new network θ₀ ~ P(θ₀) (Algorithm 1, line 3): torch's default initialisation of its layers.

    Weights of convolutions and linear layers are Kaiming uniform with a = √5, their biases uniform in ±1/√fan_in;
    norms start at scale 1, shift 0, running mean 0 and variance 1.

    Args:
        network: provides the structure; its own weights are not used.
        generator: a CPU generator, consumed in the order of the layers.
        device: device of the result.

    Returns:
        Parameters and buffers by name, for `torch.func.functional_call`.
    """
    state: Parameters = {}
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        own = dict(module.named_parameters(recurse=False))
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = torch.empty(module.weight.shape)
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            state[f"{prefix}weight"] = weight
            if module.bias is not None:
                bound = 1 / math.sqrt(weight[0].numel())
                state[f"{prefix}bias"] = torch.empty(module.bias.shape).uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            state[f"{prefix}weight"] = torch.ones(own["weight"].shape)
            state[f"{prefix}bias"] = torch.zeros(own["bias"].shape)
        elif own:
            raise NetworkError(f"No initialisation is known for {type(module).__name__} ({name}).")
    parameters = {name: state[name].to(device) for name, _ in network.named_parameters()}
    buffers = {
        name: torch.full(buffer.shape, int(name.endswith("running_var")), dtype=buffer.dtype, device=device)
        for name, buffer in network.named_buffers()
    }
    return parameters, buffers
