"""Dataset Distillation: images and step sizes from which a network learns in a few steps (Wang et al., 2018).

    for i = 0 … iterations − 1:
        (x, y) ~ real images;  θ_0 ~ P(θ_0)                       one or several networks, fresh or always the same
        θ_{t+1} = θ_t − η_t ∇_θ ℓ(x̃_t; θ_t),  t = 0 … T−1         η_t = softplus(raw step size)
        x̃, η ← Adam on the mean over networks of ℓ(x, y; θ_T)

This is Algorithm 1 of arXiv 1811.10959. Step t trains on part t mod P of the set, a part being the next
`batch_synthetic` images of every class; the whole set is one part if no class has more than that.

Shapes: N images, K classes, I images per class, B of them in a step, C, H, W, T steps.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dsactl.methods.dd.settings import HALVINGS, DatasetDistillation
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.unrolled import Batch, adam, finite, learner, real_batch
from dsactl.methods.work import CondensedSet, MethodContext

BETAS = (0.5, 0.999)
LEARNED = ("images", "raw step sizes")


def dd(work: MethodContext) -> CondensedSet:
    """Make a set by learning images and step sizes through unrolled training."""
    recipe = work.recipe
    settings = recipe.settings_as(DatasetDistillation)
    network, fresh = learner(work)
    state = work.resume() or _start(work)
    always = settings.weights == "fixed"
    for iteration in range(int(state["done"]), settings.iterations):
        images_NCHW, raw_T = (state[name].detach().requires_grad_() for name in LEARNED)
        real = real_batch(work, settings.batch_real, iteration)
        results = [
            network.unroll(
                fresh("network", 0 if always else iteration, index),
                settings.inner_steps,
                partial(_batch, work, images_NCHW, raw_T),
                [images_NCHW, raw_T],
                real,
            )
            for index in range(settings.networks)
        ]
        loss = torch.stack([result.loss for result in results]).mean()
        gradient = [torch.stack(each).mean(0) for each in zip(*(result.gradient for result in results), strict=True)]
        said = finite(loss, gradient, iteration)
        decay = 0.5 ** (iteration * HALVINGS // settings.iterations)
        for name, slope, lr in zip(LEARNED, gradient, (settings.image_lr, settings.step_lr), strict=True):
            state = adam(state, {name: slope}, iteration + 1, lr * decay, BETAS)
        state |= {"done": torch.tensor(iteration + 1)}
        work.keep(iteration + 1, settings.iterations, state, loss=said, doing="learning images")
    rates = F.softplus(state["raw step sizes"]).tolist()
    provenance = {"step sizes": [round(rate, 6) for rate in rates]}
    return CondensedSet(state["images"], work.dataset.labels(recipe.ipc), provenance=provenance)


def _start(work: MethodContext) -> dict[str, Tensor]:
    """Return the first state: the initial images, and the step sizes by the inverse of softplus."""
    recipe = work.recipe
    settings = recipe.settings_as(DatasetDistillation)
    rate_T = torch.full((settings.inner_steps,), settings.network_lr, device=work.device)
    images_NCHW = initial_images(work.dataset, recipe, settings.init).flatten(0, 1)
    return {"images": images_NCHW, "raw step sizes": rate_T.expm1().log(), "done": torch.tensor(0)}


def _batch(work: MethodContext, images_NCHW: Tensor, raw_T: Tensor, t: int) -> Batch:
    """Return the batch of step t."""
    recipe, real = work.recipe, work.dataset
    settings = recipe.settings_as(DatasetDistillation)
    first = t % settings.parts(recipe.ipc) * settings.batch_synthetic
    images_KICHW = images_NCHW.view(real.classes, recipe.ipc, *images_NCHW.shape[1:])
    part_KBCHW = images_KICHW[:, first : first + settings.batch_synthetic]
    stored = work.parametrisation
    labels_N = stored.decode_labels(real.labels(part_KBCHW.shape[1]))
    return Batch(stored.decode(part_KBCHW.flatten(0, 1)), labels_N, F.softplus(raw_T[t]))
