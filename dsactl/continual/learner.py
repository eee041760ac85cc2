"""EEIL: a network learns a new task with a memory of the old ones (Castro et al., ECCV 2018; Section 4.5).

One phase of it is SGD on

    ℓ(x, y) + λ Σ_t Σ_k −p_k(x) log q_k(x),    p = softmax(teacher_t(x) / τ),  q = softmax(student(x) / τ)

over the outputs k that teacher t is asked for. While the new task is learned, x are its images and the memory's, and
the one teacher is the network as it was before, with all of its outputs. While the network is balanced, x are as many
images of every task, those of the memory, and a second teacher joins the first: the network as it was when balancing
began, with the outputs of the new task.

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
from dsactl.training.sgd import Descent, Penalty, Plan, stack, stacked_logits, tensors_of


@dataclass(frozen=True)
class Phase:
    """How long and how fast a phase learns; its learning rate is divided by 10 at half time.

    Attributes:
        steps: of SGD.
        lr: learning rate.
    """

    steps: int
    lr: float

    @property
    def decay_at(self) -> int:
        """The step, from 0 on, before which the learning rate is divided by 10 and the momentum forgotten."""
        return self.steps - self.steps // 2


LEARN, BALANCE = Phase(400, 0.03), Phase(100, 0.001)
"""Of a task with the memory, and of the memory alone."""
DISTILLATION = 0.3
"""λ"""
_LOOK = 25  # steps from one look at the loss to the next


@dataclass(frozen=True)
class Settings:
    """What is the same for all memories. docs/continual.md says whose each value is.

    Attributes:
        network: to train.
        strategy: kinds of augmentation of every batch; empty for none.
        learn, balance: the two phases.
        distillation: λ, where there is distillation.
        temperature: τ.
        batch: images of a step.
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
    """What a phase learns from.

    Attributes:
        at: gives the normalised images B×C×H×W at places on the device.
        targets_N: the network's outputs for them, int64, or N×K shares of each output, on the device.
        origin: which images these are, by checksums.
    """

    at: Callable[[Tensor], Tensor]
    targets_N: Tensor
    origin: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets_N)

    def __add__(self, other: "Images") -> "Images":
        count = len(self)

        def at(places_B: Tensor) -> Tensor:
            own_B = places_B < count
            first, second = self.at(places_B[own_B]), other.at(places_B[~own_B] - count)
            both = torch.empty(len(places_B), *second.shape[1:], device=places_B.device)
            both[own_B], both[~own_B] = first, second
            return both

        return Images(at, joined([self.targets_N, other.targets_N]), self.origin + other.origin)


def joined(targets: Sequence[Tensor]) -> Tensor:
    """Targets one after the other: N int64, or N×K where some are shares of K outputs."""
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
        key: of the phase that it comes out of; empty for a fresh one.
    """

    outputs: int
    parameters: Parameters
    buffers: Buffers
    key: str = ""

    def tensors(self) -> dict[str, Tensor]:
        """All of them as `network_of` takes them."""
        parts = {"parameter": self.parameters, "buffer": self.buffers}
        return {f"{part}.{name}": tensor[None] for part, tensors in parts.items() for name, tensor in tensors.items()}


@dataclass(frozen=True)
class Teacher:
    """A network whose answers another one keeps to.

    Attributes:
        network: that answers.
        first, end: the outputs that it is asked for, `end` not among them.
    """

    network: Network
    first: int
    end: int


class Learner:
    """Trains networks by some settings on images of one shape.

    Args:
        settings: see `Settings`.
        shape: (C, H, W) of the images.
        device: where to compute.
    """

    def __init__(self, settings: Settings, shape: tuple[int, int, int], device: torch.device) -> None:
        self.settings, self._shape, self._device = settings, shape, device
        self._augment = Augmenter(settings.strategy, shape[1:]) if settings.strategy else None

    def structure(self, outputs: int) -> nn.Module:
        """The network's structure with so many outputs."""
        channels, *size = self._shape
        network = structure(self.settings.network, channels, (size[0], size[1]), outputs)
        if self._device.type == "cpu":
            fuse(network)
        return network

    def grown(self, network: Network | None, outputs: int, seed: int) -> Network:
        """A network with more outputs, or a fresh one; the new outputs are freshly drawn."""
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
        """One phase.

        Args:
            network: to begin with; not changed.
            images: to learn from.
            phase: how long and how fast.
            seed: of the draws.
            teachers: whose answers are kept to; none for no distillation.
            kept: tensors that `keep` was given last, to go on from there.
            keep: told after every step how many are done, of how many, and the tensors to go on from.

        Raises:
            RunError: the loss is no longer finite.
        """
        settings = self.settings
        batches = -(-len(images) // settings.batch)
        epochs = -(-phase.steps // batches)
        plan = Plan(epochs, phase.lr, MOMENTUM, WEIGHT_DECAY, settings.batch, precision=settings.precision)
        module = self.structure(network.outputs)
        if kept:
            descent, first = Descent.resumed(module, plan, self._augment, kept), int(kept["step"])
        else:
            state = stack([network.parameters]), stack([network.buffers])
            descent, first = Descent(module, plan, self._augment, *state), 0
        penalty, losses = self._distillation(teachers), torch.zeros((), device=self._device)

        def add(_chosen_MB: Tensor, _logits_BK: Tensor, loss: Tensor) -> None:
            losses.add_(loss)

        order: tuple[Tensor, ...] = ()
        for step in range(first, phase.steps):
            epoch, batch = divmod(step, batches)
            if not order or batch == 0:
                order = descent.shuffled(images.targets_N, [generator(seed, "continual-order", epoch)])
            if step == phase.decay_at:
                descent.forget_momentum()
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
    """The network in the tensors of a descent of one network."""
    parameters, buffers = (
        {name: tensor[0] for name, tensor in tensors_of(tensors, part).items()} for part in ("parameter", "buffer")
    )
    return Network(outputs, parameters, buffers)


def distillation(logits_BK: Tensor, taught_BK: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of the student's softened answers with the teacher's, in the mean over the batch.

    Args:
        logits_BK: the student's, of the outputs that the teacher is asked for.
        taught_BK: the teacher's.
        temperature: τ.
    """
    softened_BK = F.log_softmax(logits_BK / temperature, dim=1)
    return -(F.softmax(taught_BK / temperature, dim=1) * softened_BK).sum(1).mean()
