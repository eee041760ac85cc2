"""Training of one expert on the whole training split, from its checkpoint or from scratch.

An expert does not depend on the others of its pool. Its checkpoint has the state after an epoch, from which it resumes
bit-exactly, and the states that the pool keeps.

Shapes: N images, K classes, B images of a batch. Stacked tensors (`_M`) have one network.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dsactl.augmentation.composed import ComposedAugmenter
from dsactl.data.dataset import Dataset
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode, mode_mismatch
from dsactl.engine.native import library
from dsactl.engine.progress import Progress
from dsactl.engine.random import generator
from dsactl.errors import RunError
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.networks.build import initial_state, structure
from dsactl.networks.fused import fuse
from dsactl.training.sgd import Plan, SgdTraining, stack, tensors_of, unstack
from registry.pool import tensor_name

_KEPT = "kept"
_CPU = torch.device("cpu")


@dataclass
class Expert:
    """An expert, in training or finished.

    Attributes:
        index: its number in the pool.
        epoch: epochs that are done.
        states: parameters and buffers after each epoch that the pool keeps, by their names in the pool, on the CPU.
        resume: what is needed to continue (`SgdTraining.tensors`).
        losses: mean training loss of each epoch.
        seconds: of training, including those before interruptions.
        environments: descriptions of those it was trained in.
        mode: how it is computed.
    """

    index: int
    mode: Mode
    epoch: int = 0
    states: dict[str, Tensor] = field(default_factory=dict)
    resume: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    environments: list[str] = field(default_factory=list)

    def after_epoch(self, descent: SgdTraining, loss: float, seconds: float, *, keep: bool) -> "Expert":
        """Return the expert after one more epoch; this instance stays as it is, whenever an interruption comes.

        Args:
            descent: its training, after the epoch.
            loss: mean training loss of the epoch.
            seconds: of its whole training so far.
            keep: whether the pool keeps the state after this epoch.
        """
        epoch = self.epoch + 1
        states = self.states | (self.state_of(descent, epoch) if keep else {})
        losses = [*self.losses, loss]
        return replace(self, epoch=epoch, states=states, resume=descent.tensors(), losses=losses, seconds=seconds)

    def state_of(self, descent: SgdTraining, epoch: int) -> dict[str, Tensor]:
        """Copy the parameters and buffers of an epoch to the CPU, by their names in the pool."""
        return {
            tensor_name(self.index, epoch, name): tensor.detach().to(_CPU, copy=True)
            for tensors_M in (descent.parameters_M, descent.buffers_M)
            for name, tensor in unstack(tensors_M, 0).items()
        }

    def save(self, folder: Path) -> None:
        """Write the checkpoint, atomically."""
        about = {
            "epoch": self.epoch,
            "losses": self.losses,
            "seconds": self.seconds,
            "environments": self.environments,
            "mode": self.mode.to_dict(),
        }
        kept = {f"{_KEPT}.{name}": tensor for name, tensor in self.states.items()}
        save_checkpoint(checkpoint_path(folder, self.index), {**kept, **self.resume}, about)

    @classmethod
    def read(cls, path: Path, index: int, keep: Iterable[int]) -> "Expert":
        """Read a checkpoint.

        Args:
            path: its file.
            index: of the network.
            keep: the epochs whose states the pool keeps.

        Raises:
            RunError: it is damaged, or lacks a state that it should have.
        """
        tensors, about = read_checkpoint(path.read_bytes(), path, _CPU)
        kept = tensors_of(tensors, _KEPT)
        rest = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{_KEPT}.")}
        try:
            mode, losses = Mode.from_dict(about["mode"]), list(map(float, about["losses"]))
            seconds, environments = float(about["seconds"]), list(map(str, about["environments"]))
            epoch, kept_epochs = int(about["epoch"]), {int(name.split(".")[1]) for name in kept}
            if missing := [each for each in keep if each <= epoch and each not in kept_epochs]:
                raise ValueError(f"no state after epoch {missing[0]}")
            return cls(index, mode, epoch, kept, rest, losses, seconds, environments)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RunError(f"The checkpoint {path} is damaged ({error!r}).", _over(path)) from None


def checkpoint_path(folder: Path, index: int) -> Path:
    """Return the path of an expert's checkpoint in its pool's folder."""
    return folder / f"network-{index}.safetensors"


def train_expert(
    dataset: Dataset, recipe: PoolRecipe, index: int, folder: Path, progress: Progress, checkpoint_every: float
) -> Expert:
    """Train an expert to its end, and write its checkpoint.

    Args:
        dataset: on the device to compute on; only its training images are used.
        recipe: of the pool.
        index: number of the network.
        folder: has the checkpoint.
        progress: the meter, which counts epochs.
        checkpoint_every: smallest number of seconds between checkpoints; one is also written on an interruption.

    Raises:
        RunError: the checkpoint is damaged or from another mode, or the training diverged.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    device = dataset.train.images_NCHW.device
    prepare_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    expert = _begin(folder, recipe, index, device)
    if expert.epoch == recipe.epochs:
        return expert
    descent = _descent(dataset, recipe, expert, network_of(recipe, dataset))
    here = f"torch {torch.__version__}, {describe(device)}; {expert.mode}"
    expert.environments = list(dict.fromkeys([*expert.environments, here]))
    started, saved, before = time.monotonic(), time.monotonic(), expert.seconds
    progress.update(expert.epoch, recipe.epochs, "training")
    try:
        while expert.epoch < recipe.epochs:
            loss = _epoch(dataset, recipe, expert, descent)
            if not math.isfinite(loss):
                raise _diverged(recipe, expert)
            seconds = before + time.monotonic() - started
            expert = expert.after_epoch(descent, loss, seconds, keep=expert.epoch + 1 in recipe.keep)
            if time.monotonic() - saved >= checkpoint_every:
                expert.save(folder)
                saved = time.monotonic()
            progress.update(expert.epoch, recipe.epochs, "training", {"loss": loss})
        finished = replace(expert, resume={})
        finished.save(folder)
    except RunError:
        raise  # diverged numbers are not worth a checkpoint
    except BaseException:
        if expert.epoch:
            expert.save(folder)
        raise
    return finished


def network_of(recipe: PoolRecipe, dataset: Dataset) -> nn.Module:
    """Return the structure of a pool's networks, with fused layers on the CPU.

    Raises:
        NetworkError: the network cannot take the images.
    """
    network = structure(recipe.network, dataset.channels, dataset.size, dataset.classes)
    return fuse(network) if dataset.train.images_NCHW.device.type == "cpu" else network


def new_descent(dataset: Dataset, recipe: PoolRecipe, index: int, network: nn.Module) -> SgdTraining:
    """Return the training of an expert with its initial weights."""
    source, device = generator(recipe.seed, "expert-network", index), dataset.train.images_NCHW.device
    state = initial_state(network, source, device)
    return SgdTraining(network, _plan(recipe), _augment(recipe), *(stack([part]) for part in state))


def _begin(folder: Path, recipe: PoolRecipe, index: int, device: torch.device) -> Expert:
    """Return the expert of the checkpoint, or a new one.

    Raises:
        RunError: the checkpoint is damaged, or cannot be resumed bit-exactly here.
    """
    mode = Mode(device.type, native=device.type == "cpu" and library() is not None)
    path = checkpoint_path(folder, index)
    if not path.exists():
        return Expert(index, mode)
    expert = Expert.read(path, index, recipe.keep)
    if not expert.resume:
        return expert  # finished
    way_out = mode_mismatch(expert.mode, device, 1)
    if way_out is None and expert.mode != mode:
        way_out = "set DSACTL_NATIVE=0"
    if way_out is not None:
        raise RunError(
            f"The checkpoint {path} was written on {expert.mode}; it cannot be resumed bit-exactly on {mode}.",
            f"To continue it, {way_out}. {_over(path)}",
        )
    return expert


def _descent(dataset: Dataset, recipe: PoolRecipe, expert: Expert, network: nn.Module) -> SgdTraining:
    """Return the training of an expert as far as it is; keep the initial weights of a new one."""
    if expert.resume:
        device = dataset.train.images_NCHW.device
        kept = {name: tensor.to(device) for name, tensor in expert.resume.items()}
        return SgdTraining.resumed(network, _plan(recipe), _augment(recipe), kept)
    descent = new_descent(dataset, recipe, expert.index, network)
    if 0 in recipe.keep:
        expert.states = expert.state_of(descent, 0)
    return descent


def _plan(recipe: PoolRecipe) -> Plan:
    return Plan(
        recipe.epochs,
        recipe.lr,
        recipe.momentum,
        recipe.weight_decay,
        recipe.batch,
        recipe.schedule,
        recipe.cutmix,
        recipe.precision,
    )


def _augment(recipe: PoolRecipe) -> ComposedAugmenter | None:
    _, height, width = recipe.image_shape
    return ComposedAugmenter(recipe.augmentations, (height, width)) if recipe.strategy else None


def _epoch(dataset: Dataset, recipe: PoolRecipe, expert: Expert, descent: SgdTraining) -> float:
    """Train for one epoch, and return its mean loss."""
    total = torch.zeros((), device=dataset.train.images_NCHW.device)

    def look(chosen_MB: Tensor, logits_BK: Tensor, loss: Tensor) -> None:  # noqa: ARG001
        total.add_(loss * chosen_MB.shape[1])

    source = generator(recipe.seed, "expert-training", expert.index, expert.epoch)
    rate = recipe.schedule.rate(recipe.lr, expert.epoch)
    descent.epoch(dataset.at, dataset.train.labels_N, [source], rate, look)
    return total.item() / len(dataset.train)


def _diverged(recipe: PoolRecipe, expert: Expert) -> RunError:
    return RunError(
        f"Network {expert.index} diverged in epoch {expert.epoch + 1}: its loss is no longer finite.",
        f"Try a smaller `lr` than {recipe.lr:g}.",
    )


def _over(path: Path) -> str:
    return f"To start over, use `fresh=True`, or remove {path}."
