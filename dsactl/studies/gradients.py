"""Gradient norms of real and synthetic batches, with and without augmentation (Section 5.1, Figure 5).

Where the gradient of a synthetic batch vanishes, so does the update of its images: the paper's reason why augmentation
helps. The norms are those that the last outer iterations of a run would see: a fresh network is matched on the finished
set and trained on it, inner step by inner step.

Shapes: K classes, I images per class, C, H, W.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from dsactl.data.dataset import Dataset
from dsactl.dsa.augmentation import augment, draw_pair
from dsactl.dsa.packed import Augmenter
from dsactl.dsa.strategy import SCHEMES
from dsactl.engine.device import autocast
from dsactl.engine.random import generator
from dsactl.errors import UsageError
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.recipe import Recipe
from dsactl.training import Plan, stack, train, unstack


@dataclass(frozen=True)
class Norms:
    """Norms of the mean cross-entropy's gradient with respect to all weights, for a class in one inner step.

    Attributes:
        network, step, label: where.
        real, synthetic: the two norms.
    """

    network: int
    step: int
    label: int
    real: float
    synthetic: float


def gradient_norms(
    real: Dataset,
    recipe: Recipe,
    images_KICHW: Tensor,
    networks: int,
    report: Callable[[int], None] = lambda done: None,
) -> Iterator[Norms]:
    """The norms of every class and inner step, for some networks without batch norm.

    Args:
        real: the data set, on the device.
        recipe: of Algorithm 1, whose augmentation and inner loop are followed.
        images_KICHW: the finished set, on the device.
        networks: how many, each from scratch.
        report: told the number of networks done.

    Raises:
        UsageError: the network has batch norm, whose statistics a run freezes before each matching.
    """
    assert recipe.network is not None
    if recipe.network.has_batch_norm:
        raise UsageError("Gradients are not measured of networks with batch norm.", "Use --arch convnet.")
    network = structure(recipe.network, real.channels, real.size, real.classes)
    augmented = SCHEMES[recipe.scheme].synthetic
    augmenter = Augmenter(recipe.strategy if augmented else (), real.size)
    plan = Plan(recipe.network_epochs, recipe.network_lr, batch=recipe.batch_train, precision=recipe.precision)
    labels_N = torch.arange(real.classes, device=images_KICHW.device).repeat_interleave(images_KICHW.shape[1])
    fit = partial(train, network, plan, augmenter)
    for index in range(networks):
        # Positions that no iteration of the run itself has.
        k = recipe.iterations + index
        parameters, buffers = initial_state(network, generator(recipe.seed, "network", k), images_KICHW.device)
        for t in range(recipe.inner_steps):
            network.train()
            norm = partial(_norm, partial(_loss, network, parameters, buffers, recipe.precision), parameters)
            for label in range(real.classes):
                batch_RCHW = real.draw(label, recipe.batch_real, generator(recipe.seed, "real-batch", k, t, label))
                own_ICHW = images_KICHW[label]
                on_real, on_synthetic = draw_pair(
                    SCHEMES[recipe.scheme],
                    recipe.strategy,
                    (len(batch_RCHW), len(own_ICHW)),
                    real.size,
                    generator(recipe.seed, "transformation", k, t, label),
                )
                pair = (norm(augment(batch_RCHW, on_real), label), norm(augment(own_ICHW, on_synthetic), label))
                yield Norms(index, t, label, *pair)
            if t < recipe.inner_steps - 1:
                source = generator(recipe.seed, "network-training", k, t)
                state = fit(stack([parameters]), stack([buffers]), images_KICHW.flatten(0, 1), labels_N, [source])
                parameters, buffers = (unstack(part, 0) for part in state)
        report(index + 1)


def _loss(
    network: torch.nn.Module, parameters: Parameters, buffers: Buffers, precision: str, images: Tensor, label: int
) -> Tensor:
    with autocast(images.device, precision):
        logits = functional_call(network, (parameters, buffers), (images,))
    return F.cross_entropy(logits.float(), torch.full((len(images),), label, device=images.device))


def _norm(loss: Callable[[Tensor, int], Tensor], parameters: Parameters, images: Tensor, label: int) -> float:
    leaves = [tensor.requires_grad_() for tensor in parameters.values()]
    gradient = torch.autograd.grad(loss(images, label), leaves)
    return float(torch.stack([each.double().norm() for each in gradient]).norm())
