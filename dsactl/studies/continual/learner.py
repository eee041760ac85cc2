"""EEIL: a network learns a new task with a memory of the old ones (Castro et al., ECCV 2018; Section 4.5).

One phase is SGD on

    ℓ(x, y) + λ Σ_t Σ_k −p_k(x) log q_k(x),    p = softmax(teacher_t(x) / τ),  q = softmax(student(x) / τ)

over the outputs k of teacher t. While the new task is learned, x are its images and the memory's, and the only teacher
is the network before the task, with all of its outputs. While the network is balanced, x are equally many images of
every task, from the memory, and there is a second teacher: the network at the start of balancing, with the outputs of
the new task.

Shapes: N images, C, H, W, B images of a batch, K classes. Stacked tensors (`_M`) have one network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import Strategy
from dsactl.engine.random import generator
from dsactl.errors import RunError
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import fuse
from dsactl.paper import MOMENTUM, WEIGHT_DECAY
from dsactl.training.sgd import Penalty, Plan, SgdTraining, stack, stacked_logits, tensors_of


@dataclass(frozen=True)
class Phase:
    """The steps and the learning rate of a phase; the learning rate is divided by 10 at half time.

    Attributes:
        steps: of SGD.
        lr: learning rate.
    """

    steps: int
    lr: float

    @property
    def decay_at(self) -> int:
        """The step, from 0, before which the learning rate is divided by 10 and the momentum reset."""
        return self.steps - self.steps // 2


LEARN, BALANCE = Phase(400, 0.03), Phase(100, 0.001)
"""The phases for a task with the memory, and for the memory alone."""
DISTILLATION = 0.3
"""λ"""
_LOOK = 25  # steps between checks of the loss


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters shared by all memories (provenance: docs/continual.md).

    Attributes:
        network: to train.
        strategy: kinds of augmentation of every batch; empty for none.
        learn, balance: the two phases.
        distillation: λ of runs with distillation.
        temperature: τ.
        batch: batch size.
        precision: "float32" or "bfloat16".
    """

    network: NetworkSpec
    strategy: Strategy
    learn: Phase
    balance: Phase
    distillation: float = DISTILLATION
    temperature: float = 2.0
    batch: int = 256
    precision: str = "float32"


@dataclass(frozen=True)
class Images:
    """The training images of a phase.

    Attributes:
        at: returns the normalised images B×C×H×W at indices on the device.
        targets_N: indices of the network's outputs, int64, or N×K distributions over them, on the device.
        origin: checksums that identify the images.
    """

    at: Callable[[Tensor], Tensor]
    targets_N: Tensor
    origin: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets_N)

    def __add__(self, other: "Images") -> "Images":
        count = len(self)

        def at(indices_B: Tensor) -> Tensor:
            own_B = indices_B < count
            first, second = self.at(indices_B[own_B]), other.at(indices_B[~own_B] - count)
            both = torch.empty(len(indices_B), *second.shape[1:], device=indices_B.device)
            both[own_B], both[~own_B] = first, second
            return both

        return Images(at, joined([self.targets_N, other.targets_N]), self.origin + other.origin)


def joined(targets: Sequence[Tensor]) -> Tensor:
    """Concatenate targets: N int64, or N×K if some are distributions over K outputs."""
    widths = {each.shape[1] for each in targets if each.dim() == 2}
    if not widths:
        return torch.cat(list(targets))
    (width,) = widths
    return torch.cat([each if each.dim() == 2 else F.one_hot(each, width).float() for each in targets])


@dataclass(frozen=True)
class Network:
    """A network with its weights, on the device.

    Attributes:
        outputs: K.
        parameters, buffers: by name.
        key: of the phase that trained it last; empty for a fresh one.
    """

    outputs: int
    parameters: Parameters
    buffers: Buffers
    key: str = ""

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors in the form that `network_of` takes."""
        parts = {"parameter": self.parameters, "buffer": self.buffers}
        return {f"{part}.{name}": tensor[None] for part, tensors in parts.items() for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Teacher:
    """A network whose outputs are distilled.

    Attributes:
        network: the teacher.
        first, end: range of the distilled outputs, `end` excluded.
    """

    network: Network
    first: int
    end: int


class Learner:
    """Training of networks with some settings on images of one shape.

    Args:
        settings: see `Settings`.
        shape: (C, H, W) of the images.
        device: where to compute.
    """

    def __init__(self, settings: Settings, shape: tuple[int, int, int], device: torch.device) -> None:
        self.settings, self._shape, self._device = settings, shape, device
        self._augment = Augmenter(settings.strategy, shape[1:]) if settings.strategy else None

    def structure(self, outputs: int) -> nn.Module:
        """Return the network's structure with a number of outputs."""
        channels, *size = self._shape
        network = structure(self.settings.network, channels, (size[0], size[1]), outputs)
        if self._device.type == "cpu":
            fuse(network)
        return network

    def grown(self, network: Network | None, outputs: int, seed: int) -> Network:
        """Return a network with more outputs, or a fresh one for None; weights of new outputs are freshly drawn."""
        parameters, buffers = initial_state(
            self.structure(outputs), generator(seed, "continual-network", outputs), self._device
        )
        if network is None:
            return Network(outputs, parameters, buffers)
        for name, old in network.parameters.items():
            parameters[name] = (
                old if old.shape == parameters[name].shape else torch.cat([old, parameters[name][len(old) :]])
            )
        return Network(outputs, parameters, network.buffers, network.key)

    def train(
        self,
        network: Network,
        images: Images,
        phase: Phase,
        seed: int,
        teachers: Sequence[Teacher] = (),
        *,
        kept: Mapping[str, Tensor] | None = None,
        keep: Callable[[int, int, dict[str, Tensor]], None] = lambda done, total, tensors: None,
    ) -> Network:
        """Train a network for one phase.

        Args:
            network: to start from; not changed.
            images: to train on.
            phase: steps and learning rate.
            seed: the random seed.
            teachers: for distillation; empty for none.
            kept: the tensors of the last call of `keep`, to resume from.
            keep: called after every step with the number of steps done, their total, and the tensors to resume from.

        Raises:
            RunError: the loss is no longer finite.
        """
        settings = self.settings
        batches = -(-len(images) // settings.batch)
        epochs = -(-phase.steps // batches)
        plan = Plan(epochs, phase.lr, MOMENTUM, WEIGHT_DECAY, settings.batch, precision=settings.precision)
        module = self.structure(network.outputs)
        if kept:
            descent, first = SgdTraining.resumed(module, plan, self._augment, kept), int(kept["step"])
        else:
            state = stack([network.parameters]), stack([network.buffers])
            descent, first = SgdTraining(module, plan, self._augment, *state), 0
        penalty, losses = self._distillation(teachers), torch.zeros((), device=self._device)

        def add(_chosen_MB: Tensor, _logits_BK: Tensor, loss: Tensor) -> None:
            losses.add_(loss)

        order: tuple[Tensor, ...] = ()
        for step in range(first, phase.steps):
            epoch, batch = divmod(step, batches)
            if not order or batch == 0:
                order = descent.shuffled(images.targets_N, [generator(seed, "continual-order", epoch)])
            if step == phase.decay_at:
                descent.reset_momentum()
            rate = phase.lr / 10 if step >= phase.decay_at else phase.lr
            source = generator(seed, "continual-training", step)
            descent.step(images.at, images.targets_N, order[batch], [source], rate, add, penalty)
            if step % _LOOK == 0 or step + 1 == phase.steps:
                _check_finite(losses, step, phase)
            keep(step + 1, phase.steps, {"step": torch.tensor(step + 1), **descent.tensors()})
        return network_of(descent.tensors(), network.outputs)

    def _distillation(self, teachers: Sequence[Teacher]) -> Penalty | None:
        if not teachers:
            return None
        settings = self.settings
        ready = [
            (
                each,
                self.structure(each.network.outputs).eval(),
                stack([each.network.parameters]),
                stack([each.network.buffers]),
            )
            for each in teachers
        ]

        def penalty(batches: list[Tensor], logits_BK: Tensor) -> Tensor:
            total = torch.zeros((), device=logits_BK.device)
            for teacher, module, parameters_M, buffers_M in ready:
                with torch.no_grad():
                    taught_BK = stacked_logits(module, parameters_M, buffers_M, batches, settings.precision)
                outputs = slice(teacher.first, teacher.end)
                total = total + distillation(logits_BK[:, outputs], taught_BK[:, outputs], settings.temperature)
            return settings.distillation * total

        return penalty


def _check_finite(losses: Tensor, step: int, phase: Phase) -> None:
    if not bool(losses.isfinite()):
        raise RunError(
            f"The network diverged within {step + 1} of {phase.steps} steps at a learning rate of {phase.lr:g}: its "
            "loss is no longer finite.",
            "Try a smaller `lr`, `balance_lr` or `distillation_weight`.",
        )


def network_of(tensors: Mapping[str, Tensor], outputs: int) -> Network:
    """Return the network in the tensors of a descent of one network."""
    parameters, buffers = (
        {name: tensor[0] for name, tensor in tensors_of(tensors, part).items()} for part in ("parameter", "buffer")
    )
    return Network(outputs, parameters, buffers)


def distillation(logits_BK: Tensor, taught_BK: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of the student's softened outputs with the teacher's.

    Args:
        logits_BK: the student's distilled outputs.
        taught_BK: the teacher's.
        temperature: τ.
    """
    softened_BK = F.log_softmax(logits_BK / temperature, dim=1)
    return -(F.softmax(taught_BK / temperature, dim=1) * softened_BK).sum(1).mean()
