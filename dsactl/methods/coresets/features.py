"""Features of a class's images: the input of the last linear layer of a network trained on the whole training split.

Shapes: N images, C, H, W, D features.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dsactl.data.dataset import Dataset
from dsactl.engine.device import autocast
from dsactl.errors import NetworkError
from dsactl.methods.coresets.reference_network import Trained
from dsactl.methods.work import MethodContext
from dsactl.networks.build import structure

BATCH = 500


def last_linear(network: nn.Module) -> nn.Linear:
    """Return the last linear layer of a network, whose input is an image's features.

    Raises:
        NetworkError: it has none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise NetworkError("The network has no linear layer, whose input would be the features.", "Use another `arch`.")
    return layers[-1]


def check_features(work: MethodContext) -> None:
    """Refuse a network without features before it is trained.

    Raises:
        NetworkError: it has no linear layer.
    """
    assert work.recipe.network is not None
    real = work.dataset
    last_linear(structure(work.recipe.network, real.channels, real.size, real.classes))


@torch.no_grad()
def class_features(trained: Trained, real: Dataset, label: int) -> Tensor:
    """Return features of every training image of a class, N×D float32, in evaluation mode and without augmentation.

    Args:
        trained: the network; it is set to evaluation mode.
        real: on the network's device.
        label: the class, 0 … K − 1.
    """
    network = trained.network.eval()
    last = last_linear(network)
    features: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0].float()))
    first = real.train.starts[label]
    indices_N = torch.arange(first, first + real.train.counts[label], device=real.train.images_NCHW.device)
    try:
        for chosen in torch.split(indices_N, BATCH):
            with autocast(indices_N.device, trained.precision):
                functional_call(network, (trained.parameters, trained.buffers), (real.at(chosen),))
    finally:
        handle.remove()
    return torch.cat(features)


def centred(features_ND: Tensor) -> Tensor:
    """Subtract the mean from features, in float64 on the CPU, since small differences decide which image is next."""
    features_ND = features_ND.cpu().double()
    return features_ND - features_ND.mean(0)
