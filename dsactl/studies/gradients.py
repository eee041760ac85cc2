"""Gradient norms of real and synthetic batches, with and without augmentation (Section 5.1, Figure 5).

If the gradient of a synthetic batch vanishes, so does the update of its images: the paper's explanation of why
augmentation helps. The norms are those of further outer iterations after a run: a fresh network is matched on the
finished set and trained on it, inner step by inner step.

Shapes: K classes, I images per class, C, H, W.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dsactl.augmentation.transforms import augment
from dsactl.data.dataset import Dataset
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.methods.gradient_matching.inner_network import InnerNetwork
from dsactl.methods.gradient_matching.inner_step import draw_class
from dsactl.methods.gradient_matching.matching import loss_function, real_gradient
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.networks.build import Parameters, structure
from dsactl.recipes.recipe import Recipe, Request
from dsactl.studies.ablations import refuse_batch_norm
from dsactl.studies.cells import make_one
from dsactl.synthetic.synthetic_set import from_store

CONDENSED = ("with DSA", "without")
"""Labels of the two compared sets, by how they were condensed."""


@dataclass(frozen=True)
class Norms:
    """Norms of the mean cross-entropy's gradient with respect to all weights, for a class in one inner step.

    Attributes:
        network, step, label: indices of network, inner step and class.
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
    progress: Progress,
) -> Iterator[Norms]:
    """Yield the norms of every class and inner step, for some networks without batch norm.

    Args:
        real: the dataset, on the device.
        recipe: of Algorithm 1; determines the augmentation and the inner loop.
        images_KICHW: the finished set, on the device.
        networks: number of networks, each from scratch.
        progress: counts networks.

    Raises:
        UsageError: the network has batch norm.
    """
    assert recipe.network is not None
    refuse_batch_norm(recipe.network)
    network = structure(recipe.network, real.channels, real.size, real.classes)
    loss = loss_function(network, recipe.precision)
    inner_network = InnerNetwork(real, recipe, network)
    settings = recipe.settings_as(GradientMatching)
    for index in range(networks):
        # Positions beyond the iterations of the run itself.
        k = settings.iterations + index
        (parameters, buffers), velocity = inner_network.fresh(k), Parameters()
        for t in range(settings.inner_steps):
            network.train()
            for label in range(real.classes):
                indices_R, (on_real, on_synthetic) = draw_class(real, recipe, images_KICHW.shape[1], k, t, label)
                batch_RCHW = real.at(indices_R.to(images_KICHW.device))
                batches = (augment(batch_RCHW, on_real), augment(images_KICHW[label], on_synthetic))
                pair = (_norm(real_gradient(loss, parameters, buffers, batch, label)) for batch in batches)
                yield Norms(index, t, label, *pair)
            if t < settings.inner_steps - 1:
                parameters, buffers, velocity = inner_network.train(parameters, buffers, velocity, images_KICHW, k, t)
        progress.update(index + 1, networks, "measuring gradients")


def measure_norms(request: Request, networks: int, session: Session) -> list[Norms]:
    """Return the norms on a set, which is made if it is not in the store.

    Args:
        request: of the set.
        networks: see `gradient_norms`.
        session: has the store of the set. The set and the measurement are half of the work each.

    Raises:
        dsactl.Error, RunError, KeyboardInterrupt: see `make_one`.
        registry.CorruptError: the set was damaged in the meantime.
        UsageError: the network has batch norm.
    """
    job, stored = make_one(request, session.part(0, 1, 2))
    images_NCHW = from_store(session.store, stored).images.to(job.device)
    images_KICHW = images_NCHW.view(job.dataset.classes, request.ipc, *images_NCHW.shape[1:])

    progress = session.progress.part(1, 1, 2)
    return list(gradient_norms(job.dataset, job.recipe, images_KICHW, networks, progress))


def _norm(gradient: Parameters) -> float:
    return float(torch.stack([each.double().norm() for each in gradient.values()]).norm())
