"""Training of networks on a labelled set: inside Algorithm 1 (line 9), in evaluation, in every study.

M networks of one structure are trained together where that is faster, each with its own draws, so that a network's
result does not depend on the others.

Shapes: N images, C, H, W, M networks, B images of a batch, X = M·B. Stacked parameters have M as first dimension.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from dsactl.augmentation.cutmix import CutMix
from dsactl.engine.device import at_least_float32, autocast
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.networks.build import Buffers, Parameters
from dsactl.training.schedule import CONSTANT, Schedule

Augment = Callable[[Tensor, Generator], Tensor]
"""Augmentation of a batch N×C×H×W, with draws from a CPU generator."""
Penalty = Callable[[list[Tensor], Tensor], Tensor]
"""Additional loss of a step, summed over the networks, given the augmented batches, M of B×C×H×W, and the logits
M·B×K."""


@dataclass(frozen=True)
class Plan:
    """Settings for training by SGD.

    Attributes:
        epochs: passes over the set.
        lr, momentum, weight_decay: of SGD.
        batch: images per step, shuffled in every epoch.
        schedule: of lr, over the epochs.
        cutmix: probability of CutMix, for each batch; 0 for never.
        precision: "float32" or "bfloat16".
    """

    epochs: int
    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int = 256
    schedule: Schedule = CONSTANT
    cutmix: float = 0.0
    precision: str = "float32"

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch."""
        return self.schedule.rate(self.lr, epoch)


def stack(states: Sequence[Parameters]) -> Parameters:
    """Stack M states into one, with M as first dimension."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def unstack(stacked: Parameters, index: int) -> Parameters:
    """Return one of the M states of a stack."""
    return {name: tensor[index] for name, tensor in stacked.items()}


class Training(Protocol):
    """A function that trains networks of one structure by one plan, on any set."""

    def __call__(
        self,
        parameters_M: Parameters,
        buffers_M: Buffers,
        images_NCHW: Tensor,
        labels_N: Tensor,
        generators: Sequence[Generator],
        progress: Progress = NO_PROGRESS,
    ) -> tuple[Parameters, Buffers]:
        """Train M networks on one set, each with its own shuffles and augmentations.

        Args:
            parameters_M, buffers_M: initial values, stacked; not changed.
            images_NCHW: normalised.
            labels_N: int64, or N×K soft labels.
            generators: M CPU generators, one per network.
            progress: the meter, which counts epochs.

        Returns:
            Parameters and buffers after training, stacked.
        """


class PlainTraining(Training):
    """Training with torch's ordinary steps.

    Args:
        network: provides the structure; it is put into training mode.
        plan: see `Plan`.
        augment: applied to every batch; None for no augmentation.
    """

    def __init__(self, network: nn.Module, plan: Plan, augment: Augment | None = None) -> None:
        self._network, self._plan, self._augment = network, plan, augment

    def __call__(
        self,
        parameters_M: Parameters,
        buffers_M: Buffers,
        images_NCHW: Tensor,
        labels_N: Tensor,
        generators: Sequence[Generator],
        progress: Progress = NO_PROGRESS,
    ) -> tuple[Parameters, Buffers]:
        """Train; see `Training`."""
        plan = self._plan
        descent = SgdTraining(self._network, plan, self._augment, parameters_M, buffers_M)
        for epoch in range(plan.epochs):
            if plan.schedule.resets(epoch):
                descent.reset_momentum()
            descent.epoch(images_NCHW.__getitem__, labels_N, generators, plan.rate(epoch))
            progress.update(epoch + 1, plan.epochs)
        return {name: tensor.detach() for name, tensor in descent.parameters_M.items()}, descent.buffers_M


class SgdTraining:
    """M networks in training, updated in place. Copies of the attributes are enough to resume in another instance.

    Attributes:
        parameters_M, buffers_M, velocity_M: stacked; velocity is the momentum of each parameter.

    Args:
        network: provides the structure; it is put into training mode.
        plan: see `Plan`; the caller handles the epochs and the decay of the learning rate.
        augment: applied to every batch; None for no augmentation.
        parameters_M, buffers_M: initial values; not changed.
        velocity_M: initial velocity; None for zero.
    """

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        augment: Augment | None,
        parameters_M: Parameters,
        buffers_M: Buffers,
        velocity_M: Parameters | None = None,
    ) -> None:
        self._network, self._plan, self._augment = network.train(), plan, augment
        self.parameters_M = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters_M.items()}
        self.buffers_M = {name: tensor.clone() for name, tensor in buffers_M.items()}
        if velocity_M is None:
            self.velocity_M = {name: torch.zeros_like(tensor) for name, tensor in parameters_M.items()}
        else:
            self.velocity_M = {name: velocity_M[name].clone() for name in parameters_M}

    def epoch(
        self,
        images: Callable[[Tensor], Tensor],
        labels_N: Tensor,
        generators: Sequence[Generator],
        lr: float,
        look: Callable[[Tensor, Tensor, Tensor], None] = lambda chosen_MB, logits_XK, loss: None,
    ) -> None:
        """Train for one shuffled pass over the set.

        Args:
            images: returns the normalised images at indices.
            labels_N: int64, or N×K soft labels.
            generators: M CPU generators, one per network.
            lr: the learning rate.
            look: called in every step before the update, with the batch's indices, the logits, M·B×K, and the loss.
        """
        for chosen_MB in self.shuffled(labels_N, generators):
            self.step(images, labels_N, chosen_MB, generators, lr, look)

    def shuffled(self, labels_N: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, ...]:
        """Return the indices M×B of each batch of a pass, on the set's device; the last batch may be smaller."""
        orders_MN = torch.stack([torch.randperm(len(labels_N), generator=generator) for generator in generators])
        return torch.split(orders_MN.to(labels_N.device), self._plan.batch, dim=1)

    def step(
        self,
        images: Callable[[Tensor], Tensor],
        labels_N: Tensor,
        chosen_MB: Tensor,
        generators: Sequence[Generator],
        lr: float,
        look: Callable[[Tensor, Tensor, Tensor], None] = lambda chosen_MB, logits_XK, loss: None,
        penalty: Penalty | None = None,
    ) -> None:
        """Take one step on a batch of `shuffled`, with an optional `Penalty`; for the other arguments see `epoch`."""
        leaves, velocity = list(self.parameters_M.values()), list(self.velocity_M.values())
        batches = [images(chosen_B) for chosen_B in chosen_MB]
        if self._augment is not None:
            batches = [self._augment(batch, source) for batch, source in zip(batches, generators, strict=True)]
        mixes = self._mixes(batches, generators)
        batches = [mix.images(batch) for mix, batch in zip(mixes, batches, strict=True)] if mixes else batches
        logits_XK = stacked_logits(self._network, self.parameters_M, self.buffers_M, batches, self._plan.precision)
        labels_MB = labels_N[chosen_MB]
        loss = _summed_cross_entropy(logits_XK, _mixed(labels_MB, mixes, logits_XK) if mixes else labels_MB)
        if penalty is not None:
            loss = loss + penalty(batches, logits_XK)
        look(chosen_MB, logits_XK.detach(), loss.detach())
        sgd_step(leaves, velocity, torch.autograd.grad(loss, leaves), self._plan, lr)

    def _mixes(self, batches: list[Tensor], generators: Sequence[Generator]) -> list[CutMix]:
        """Draw CutMix for each network's batch; none where the plan has none."""
        if not self._plan.cutmix:
            return []
        count, (height, width) = len(batches[0]), batches[0].shape[2:]
        return [CutMix.draw(self._plan.cutmix, count, (height, width), source) for source in generators]

    def reset_momentum(self) -> None:
        """Reset the velocity to zero."""
        torch._foreach_zero_(list(self.velocity_M.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Copy everything needed to resume: `parameter.NAME`, `buffer.NAME`, `velocity.NAME`."""
        parts = {"parameter": self.parameters_M, "buffer": self.buffers_M, "velocity": self.velocity_M}
        return {
            f"{part}.{name}": tensor.detach().clone()
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }

    @classmethod
    def resumed(
        cls, network: nn.Module, plan: Plan, augment: Augment | None, kept: Mapping[str, Tensor]
    ) -> "SgdTraining":
        """Resume from the result of `tensors`; other tensors are ignored.

        Args:
            network, plan, augment: as for the original instance.
            kept: the tensors, on the device.
        """
        parts = (tensors_of(kept, part) for part in ("parameter", "buffer", "velocity"))
        return cls(network, plan, augment, *parts)


def tensors_of(kept: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors named `part.NAME`, by NAME."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items() if name.startswith(prefix)}


@torch.no_grad()
def sgd_step(
    parameters: list[Tensor], velocity: list[Tensor], gradient: tuple[Tensor, ...], plan: Plan, lr: float | Tensor
) -> None:
    """Take one step of SGD, in place: v ← μ v + (g + λ θ);  θ ← θ − lr v."""
    step: tuple[Tensor, ...] | list[Tensor] = gradient
    if plan.weight_decay:
        step = torch._foreach_add(step, parameters, alpha=plan.weight_decay)
    if plan.momentum:
        torch._foreach_mul_(velocity, plan.momentum)
        torch._foreach_add_(velocity, step)
        step = velocity
    torch._foreach_sub_(parameters, torch._foreach_mul(step, lr))


def summed_loss(
    network: nn.Module,
    parameters_M: Parameters,
    buffers_M: Buffers,
    batches: list[Tensor],
    labels_MB: Tensor,
    precision: str,
) -> Tensor:
    """Compute the sum of the networks' mean cross-entropies, whose gradient is each network's own."""
    return _summed_cross_entropy(stacked_logits(network, parameters_M, buffers_M, batches, precision), labels_MB)


def stacked_logits(
    network: nn.Module, parameters_M: Parameters, buffers_M: Buffers, batches: list[Tensor], precision: str
) -> Tensor:
    """Compute each network's logits of its own batch, concatenated: M·B×K, float32 or float64."""
    with autocast(batches[0].device, precision):
        if len(batches) == 1:
            state = (unstack(parameters_M, 0), unstack(buffers_M, 0))
            logits_XK = functional_call(network, state, (batches[0],))
        else:
            logits_MBK = vmap(
                lambda parameters, buffers, images: functional_call(network, (parameters, buffers), images)
            )(parameters_M, buffers_M, torch.stack(batches))
            logits_XK = logits_MBK.flatten(0, 1)
    return at_least_float32(logits_XK)


def _mixed(labels_MB: Tensor, mixes: Sequence[CutMix], logits_XK: Tensor) -> Tensor:
    """Return mixed soft labels, M×B×K, from hard or soft ones, with the type of the logits."""
    soft_MBK = labels_MB if labels_MB.is_floating_point() else F.one_hot(labels_MB, logits_XK.shape[1])
    return torch.stack([mix.targets(soft_BK) for mix, soft_BK in zip(mixes, soft_MBK.to(logits_XK), strict=True)])


def _summed_cross_entropy(logits_XK: Tensor, labels_MB: Tensor) -> Tensor:
    return F.cross_entropy(logits_XK, labels_MB.flatten(0, 1), reduction="sum") / labels_MB.shape[1]


@torch.no_grad()
def count_correct(
    network: nn.Module,
    parameters: Parameters,
    buffers: Buffers,
    batches: Iterable[tuple[Tensor, Tensor]],
    precision: str = "float32",
) -> float:
    """Count the images that one network classifies correctly, in evaluation mode.

    A diverged network outputs values that are not finite; these images count as chance level, 1/K each.

    Args:
        network: provides the structure; it is put into evaluation mode.
        parameters, buffers: of one network.
        batches: normalised images N×C×H×W with labels N.
        precision: precision of the forward pass.
    """
    network.eval()
    correct: Tensor | int = 0
    guessed: Tensor | int = 0
    classes = 1
    for images_NCHW, labels_N in batches:
        with autocast(images_NCHW.device, precision):
            logits_NK = functional_call(network, (parameters, buffers), (images_NCHW,))
        classes = logits_NK.shape[1]
        answered_N = logits_NK.isfinite().all(1)
        correct = correct + ((logits_NK.argmax(1) == labels_N) & answered_N).sum()
        guessed = guessed + (~answered_N).sum()
    return int(correct) + int(guessed) / classes
