"""Label Distillation: soft labels of real images from which a network learns (Bohdal, Yang and Hospedales, 2020).

    for i = 0 … iterations − 1:
        (x, y) ~ real images
        θ_{t+1} = θ_t − η ∇_θ ℓ(x̃_t, ỹ_t; θ_t),  t = 0 … T−1      on `batch_train` images of the set
        ỹ ← Adam on ℓ(x, y; θ_T)                                   ỹ = softmax(z)
        θ_0 ← θ_T, or a fresh network once the loss has stopped falling

This is the second-order method of arXiv 2006.08572. The images x̃ are real images and do not change.

Shapes: N images, B of a step, K classes, C, H, W.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dsactl.methods.coresets.random import random
from dsactl.methods.ld.settings import LabelDistillation
from dsactl.methods.unrolled import Batch, adam, finite, learner, real_batch
from dsactl.methods.work import CondensedSet, MethodContext
from dsactl.networks.build import Parameters

BETAS = (0.9, 0.999)
_NETWORK = "network."


def ld(work: MethodContext) -> CondensedSet:
    """Make a set by learning soft labels of real images through unrolled training."""
    settings = work.recipe.settings_as(LabelDistillation)
    network, fresh = learner(work)
    chosen = random(work)
    state = work.resume() or _start(work, chosen.labels_N) | _network(fresh("network", 0))
    for iteration in range(int(state["done"]), settings.iterations):
        logits_NK = state["logits"].detach().requires_grad_()
        result = network.unroll(
            {name.removeprefix(_NETWORK): state[name] for name in state if name.startswith(_NETWORK)},
            settings.inner_steps,
            partial(_batch, work, chosen.images_NCHW, logits_NK, iteration),
            [logits_NK],
            real_batch(work, settings.batch_real, iteration),
        )
        loss = finite(result.loss, result.gradient, iteration)
        state = adam(state, {"logits": result.gradient[0]}, iteration + 1, settings.label_lr, BETAS)
        losses, stalled = _judge(work, state, result.loss)
        parameters = fresh("network", iteration + 1) if stalled else result.parameters
        state |= losses | _network(parameters) | {"done": torch.tensor(iteration + 1)}
        work.keep(iteration + 1, settings.iterations, state, loss=loss, doing="learning labels")
    return CondensedSet(chosen.images_NCHW, chosen.labels_N, state["logits"].softmax(1))


def _start(work: MethodContext, labels_N: Tensor) -> dict[str, Tensor]:
    """Return the first state: one-hot labels, with the share `smoothing` of each spread over all classes."""
    classes, smoothing = work.dataset.classes, work.recipe.settings_as(LabelDistillation).smoothing
    own_NK = F.one_hot(labels_N.cpu(), classes).float()
    logits_NK = (own_NK * (1 - smoothing) + smoothing / classes).log().to(work.device)
    return {"logits": logits_NK, "done": torch.tensor(0), **_unseen(work)}


def _unseen(work: MethodContext) -> dict[str, Tensor]:
    """Return the loss statistics of a fresh network."""
    none = torch.tensor(torch.inf, device=work.device)
    return {"sum": torch.zeros_like(none), "seen": torch.tensor(0), "lowest": none}


def _judge(work: MethodContext, state: dict[str, Tensor], loss: Tensor) -> tuple[dict[str, Tensor], bool]:
    """Record a loss; a network has stalled if its mean loss over `patience` iterations is no lower than before."""
    total, seen = state["sum"] + loss, state["seen"] + 1
    if seen < work.recipe.settings_as(LabelDistillation).patience:
        return {"sum": total, "seen": seen}, False
    if total >= state["lowest"]:
        return _unseen(work), True
    return {**_unseen(work), "lowest": total}, False


def _batch(work: MethodContext, images_NCHW: Tensor, logits_NK: Tensor, iteration: int, t: int) -> Batch:
    """Return the batch of step t of an iteration."""
    order = torch.randperm(len(images_NCHW), generator=work.generator("set-batch", iteration, t))
    settings = work.recipe.settings_as(LabelDistillation)
    indices_B = order[: settings.batch_train].to(work.device)
    rate = torch.tensor(settings.network_lr, device=work.device)
    return Batch(images_NCHW[indices_B], logits_NK[indices_B].softmax(1), rate)


def _network(parameters: Parameters) -> dict[str, Tensor]:
    """Return parameters by their names in the state."""
    return {f"{_NETWORK}{name}": tensor for name, tensor in parameters.items()}
