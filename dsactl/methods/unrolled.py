"""Unrolled training: the loss of real images after a few steps on a small set, and its gradient.

    θ_{t+1} = θ_t − η_t ∇_θ ℓ(x̃_t, ỹ_t; θ_t),  t = 0 … T−1
    L = ℓ(x, y; θ_T)

The images x̃, the labels ỹ and the step sizes η depend on the learned tensors z. Back-propagation recomputes each step
from its θ_t, so that it needs the memory of one step and T copies of θ:

    v_T = ∂L/∂θ_T;   ∂L/∂z = Σ_t ∂⟨v_{t+1}, θ_{t+1}⟩/∂z;   v_t = ∂⟨v_{t+1}, θ_{t+1}⟩/∂θ_t

Shapes: N real images, B synthetic images of a step, K classes, C, H, W.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dsactl.data.dataset import sample_without_replacement
from dsactl.errors import RunError
from dsactl.methods.gradient_matching.matching import Loss, loss_function
from dsactl.methods.work import MethodContext
from dsactl.networks.build import Parameters, initial_state, structure
from dsactl.networks.fused import fuse


class Batch(NamedTuple):
    """The batch of one step.

    Attributes:
        images_BCHW, targets: x̃_t and ỹ_t, labels B or distributions B×K.
        rate: η_t, a tensor without dimensions.
    """

    images_BCHW: Tensor
    targets: Tensor
    rate: Tensor


@dataclass(frozen=True)
class Unrolled:
    """The result of training on the small set.

    Attributes:
        loss: L, of the real images at θ_T.
        gradient: ∂L/∂z, in the order of z.
        parameters: θ_T.
    """

    loss: Tensor
    gradient: list[Tensor]
    parameters: Parameters


@dataclass(frozen=True)
class UnrolledLearner:
    """Unrolled training of one network.

    Attributes:
        loss: ℓ, which can be differentiated twice.
        first: the same for first-order gradients, faster on some devices.
    """

    loss: Loss
    first: Loss

    def unroll(
        self,
        parameters: Parameters,
        steps: int,
        batch: Callable[[int], Batch],
        learned: Sequence[Tensor],
        real: tuple[Tensor, Tensor],
    ) -> Unrolled:
        """Train for a few steps, and differentiate the loss of real images.

        Args:
            parameters: θ_0.
            steps: T.
            batch: returns the batch of step t, computed from `learned`.
            learned: z, leaves that require a gradient.
            real: images N×C×H×W, and their labels N.
        """
        states = [_leaves(parameters)]
        for t in range(steps):
            with torch.no_grad():
                images_BCHW, targets, rate = batch(t)
            slope = torch.autograd.grad(self.first(states[t], {}, images_BCHW, targets), list(states[t].values()))
            moved = torch._foreach_sub(list(states[t].values()), torch._foreach_mul(slope, rate))
            states.append(_leaves(dict(zip(parameters, moved, strict=True))))
        loss = self.first(states[-1], {}, *real)
        v = list(torch.autograd.grad(loss, list(states[-1].values())))
        total = [torch.zeros_like(each) for each in learned]
        for t in reversed(range(steps)):
            gradient = self._back(states[t], batch(t), v, learned, further=t > 0)
            torch._foreach_add_(total, gradient[: len(total)])
            v = [mine + own for mine, own in zip(v, gradient[len(total) :], strict=False)]
        return Unrolled(loss.detach(), total, {name: tensor.detach() for name, tensor in states[-1].items()})

    def _back(
        self, state: Parameters, batch: Batch, v: list[Tensor], learned: Sequence[Tensor], *, further: bool
    ) -> list[Tensor]:
        """Return ∂⟨v, −η ∇_θ ℓ⟩ with respect to z, and to θ unless this is the first step."""
        leaves = list(state.values())
        inner = self.loss(state, {}, batch.images_BCHW, batch.targets)
        slope = torch.autograd.grad(inner, leaves, create_graph=True)
        along = torch.stack([(own * towards).sum() for own, towards in zip(slope, v, strict=True)]).sum()
        wanted = [*learned, *leaves] if further else list(learned)
        return list(torch.autograd.grad(-batch.rate * along, wanted, materialize_grads=True))


def learner(work: MethodContext) -> tuple[UnrolledLearner, Callable[..., Parameters]]:
    """Return the learner of a recipe's network, and a function that draws its parameters for a purpose and position."""
    recipe, real = work.recipe, work.dataset
    assert recipe.network is not None, "an unrolled method needs a network"
    shape = (recipe.network, real.channels, real.size, real.classes)
    network = structure(*shape)
    loss = loss_function(network, recipe.precision)
    # Fused layers exist only on a CPU, and cannot be differentiated twice.
    first = loss_function(fuse(structure(*shape)), recipe.precision) if work.mode.native else loss

    def fresh(purpose: str, *position: int) -> Parameters:
        return initial_state(network, work.generator(purpose, *position), work.device)[0]

    return UnrolledLearner(loss, first), fresh


def real_batch(work: MethodContext, batch_real: int, iteration: int) -> tuple[Tensor, Tensor]:
    """Draw the training images of an iteration, of all classes together without replacement, and their labels."""
    train = work.dataset.train
    source = work.generator("real-batch", iteration)
    indices_N = sample_without_replacement(len(train), batch_real, source).to(work.device)
    return work.dataset.at(indices_N), train.labels_N[indices_N]


def adam(
    state: dict[str, Tensor], gradient: dict[str, Tensor], step: int, lr: float, betas: tuple[float, float]
) -> dict[str, Tensor]:
    """Take one step of Adam (Kingma and Ba, 2015) on the tensors that a gradient names, with ε = 10⁻⁸.

        m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  z ← z − lr · m/(1 − β₁ˢ) / (√(v/(1 − β₂ˢ)) + ε)

    Args:
        state: z by name; m and v as "NAME.m" and "NAME.v", which may be absent before the first step.
        gradient: g by name.
        step: s, from 1.
        lr, betas: of Adam.

    Returns:
        A new state with all tensors.
    """
    state = dict(state)
    for name, g in gradient.items():
        zero = torch.zeros_like(g)
        m = state.get(f"{name}.m", zero) * betas[0] + g * (1 - betas[0])
        v = state.get(f"{name}.v", zero) * betas[1] + g.square() * (1 - betas[1])
        scale = (v / (1 - betas[1] ** step)).sqrt() + 1e-8
        state |= {name: state[name] - lr * (m / (1 - betas[0] ** step)) / scale, f"{name}.m": m, f"{name}.v": v}
    return state


def finite(loss: Tensor, gradient: Sequence[Tensor], iteration: int) -> float:
    """Return the loss as a number.

    Raises:
        RunError: the loss or the gradient is not finite.
    """
    if not bool(torch.stack([loss, *(each.sum() for each in gradient)]).isfinite().all()):
        raise RunError(
            f"The loss after training diverged in iteration {iteration + 1}.",
            "Start over with `fresh=True` and a smaller `network_lr`, or smaller learning rates for what is learned.",
        )
    return loss.item()


def _leaves(parameters: Parameters) -> Parameters:
    return {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
