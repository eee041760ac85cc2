"""The reference network, trained on the whole training split, for methods that choose images by its outputs.

Optimiser, batch size and augmentation are those of evaluation (Section 4.1); the number of epochs and the constant
learning rate are ours.

Shapes: N images, C, H, W, B images of a batch, K classes. Stacked tensors (`_M`) have one network.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dsactl.augmentation.packed import Augmenter
from dsactl.errors import RunError
from dsactl.methods.coresets.settings import Coreset
from dsactl.methods.work import MethodContext, try_smaller
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.networks.fused import fuse
from dsactl.paper import MOMENTUM, WEIGHT_DECAY
from dsactl.training.sgd import Plan, SgdTraining, stack, tensors_of, unstack

Look = Callable[[Tensor, Tensor], None]
"""Called in every step, before the update, with the indices of the batch, B, and the logits, B×K."""


@dataclass(frozen=True)
class Trained:
    """A network with its weights.

    Attributes:
        network: the structure.
        parameters, buffers: of the network.
        precision: of its forward pass.
    """

    network: nn.Module
    parameters: Parameters
    buffers: Buffers
    precision: str


def train_on_whole(
    work: MethodContext, look: Look = lambda indices_B, logits_BK: None, beside: Mapping[str, Tensor] | None = None
) -> Trained:
    """Train the recipe's network on the whole training split; it can be resumed after every epoch.

    Args:
        work: of a method with the settings `Coreset`.
        look: see `Look`.
        beside: tensors that `look` changes in place; they are kept and restored together with the network.

    Raises:
        RunError: the training diverged.
    """
    recipe, real, settings = work.recipe, work.dataset, work.recipe.settings_as(Coreset)
    epochs = settings.epochs
    assert recipe.network is not None, "the method is registered with a network"
    network = structure(recipe.network, real.channels, real.size, real.classes)
    if work.mode.native:
        fuse(network)
    plan = Plan(epochs, settings.network_lr, MOMENTUM, WEIGHT_DECAY, settings.batch_train, precision=recipe.precision)
    augment = Augmenter(recipe.strategy, real.size) if recipe.strategy else None
    kept, beside = work.resume(), beside or {}
    if kept:
        descent = SgdTraining.resumed(network, plan, augment, kept)
        for name, tensor in tensors_of(kept, "beside").items():
            beside[name].copy_(tensor)
    else:
        state = initial_state(network, work.generator("whole-network"), work.device)
        descent = SgdTraining(network, plan, augment, *(stack([part]) for part in state))
    finished = int(kept["epoch"]) if kept else 0
    work.keep(finished, epochs, kept, doing=_doing(finished, epochs), copy=False)
    for epoch in range(finished, epochs):
        loss = _epoch(work, descent, epoch, look)
        if not math.isfinite(loss):
            raise RunError(
                f"Training on the whole training split diverged in epoch {epoch + 1}: its loss is no longer finite.",
                try_smaller(recipe, "network_lr"),
            )
        work.keep(epoch + 1, epochs, _tensors(descent, epoch + 1, beside), loss=loss, doing=_doing(epoch + 1, epochs))
    parameters = {name: tensor.detach() for name, tensor in unstack(descent.parameters_M, 0).items()}
    return Trained(network, parameters, unstack(descent.buffers_M, 0), recipe.precision)


def _epoch(work: MethodContext, descent: SgdTraining, epoch: int, look: Look) -> float:
    """Train for one epoch, and return its mean loss."""
    real = work.dataset
    total = torch.zeros((), device=work.device)

    def see(chosen_MB: Tensor, logits_BK: Tensor, loss: Tensor) -> None:
        total.add_(loss * chosen_MB.shape[1])
        look(chosen_MB[0], logits_BK)

    source = work.generator("whole-training", epoch)
    descent.epoch(real.at, real.train.labels_N, [source], work.recipe.settings_as(Coreset).network_lr, see)
    return total.item() / len(real.train)


def _tensors(descent: SgdTraining, epoch: int, beside: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return all tensors that are needed to resume training."""
    others = {f"beside.{name}": tensor for name, tensor in beside.items()}
    return {"epoch": torch.tensor(epoch), **descent.tensors(), **others}


def _doing(finished: int, epochs: int) -> str:
    return "training on the whole set" if finished < epochs else "choosing images"
