"""EEIL: a network learns a new task with a memory of the old ones (Castro et al., ECCV 2018; Section 4.5).

One phase of it is SGD on

    ℓ(x, y) + λ Σ_k −p_k(x) log q_k(x),    p = softmax(teacher(x) / τ),  q = softmax(student(x) / τ)

over the outputs k that the teacher has. While the new task is learned, x are its images and the memory's, and the
teacher is the network as it was before; while the network is balanced, x are as many images of every task, those of the
memory, and the teacher is the network as it is then.

Shapes: N images, C, H, W, B images of a batch, K classes. Stacked tensors (`_M`) have one network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dsactl.dsa.packed import Augmenter
from dsactl.dsa.strategy import Strategy
from dsactl.engine.random import generator
from dsactl.errors import RunError
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import fuse
from dsactl.training import Descent, Penalty, Plan, stack, stacked_logits, tensors_of

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4


@dataclass(frozen=True)
class Phase:
    """How long and how fast a phase learns; its learning rate is divided by 10 at half time.

    Attributes:
        steps: of SGD, about: whole passes over its images are made.
        lr: learning rate.
    """

    steps: int
    lr: float

    def epochs(self, images: int, batch: int) -> int:
        """Passes over so many images."""
        return max(1, round(self.steps / -(-images // batch)))


LEARN, BALANCE = Phase(500, 0.01), Phase(200, 0.001)
"""Of a task with the memory, and of the memory alone."""
DISTILLATION = 1.0
"""λ"""


@dataclass(frozen=True)
class Settings:
    """What is the same for all memories. The paper says none of it; docs/continual.md says whose each value is.

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
        labels_N: the network's outputs for them, int64, on the device.
        origin: which images these are, by checksums.
    """

    at: Callable[[Tensor], Tensor]
    labels_N: Tensor
    origin: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels_N)

    def __add__(self, other: "Images") -> "Images":
        count = len(self)

        def at(places_B: Tensor) -> Tensor:
            own_B = places_B < count
            first, second = self.at(places_B[own_B]), other.at(places_B[~own_B] - count)
            both = torch.empty(len(places_B), *second.shape[1:], device=places_B.device)
            both[own_B], both[~own_B] = first, second
            return both

        return Images(at, torch.cat([self.labels_N, other.labels_N]), self.origin + other.origin)


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
        teacher: Network | None = None,
        *,
        kept: Mapping[str, Tensor] | None = None,
        keep: Callable[[int, int, Callable[[], dict[str, Tensor]]], None] = lambda done, total, tensors: None,
    ) -> Network:
        """One phase.

        Args:
            network: to begin with; not changed.
            images: to learn from.
            phase: how long and how fast.
            seed: of the draws.
            teacher: whose answers are kept to; None for no distillation.
            kept: tensors that `keep` was given last, to go on from there.
            keep: told after every epoch how many are done, of how many, and how to get the tensors to go on from.

        Raises:
            RunError: the loss is no longer finite.
        """
        settings = self.settings
        epochs = phase.epochs(len(images), settings.batch)
        decay_at = epochs // 2 if epochs > 1 else None
        plan = Plan(epochs, phase.lr, MOMENTUM, WEIGHT_DECAY, settings.batch, decay_at, settings.precision)
        module = self.structure(network.outputs)
        if kept:
            descent, first = Descent.resumed(module, plan, self._augment, kept), int(kept["epoch"])
        else:
            descent, first = (
                Descent(module, plan, self._augment, stack([network.parameters]), stack([network.buffers])),
                0,
            )
        penalty = None if teacher is None else self._distillation(teacher)
        for epoch in range(first, epochs):
            if epoch == plan.decay_at:
                descent.forget_momentum()
            total = torch.zeros((), device=self._device)

            def add(_chosen_MB: Tensor, _logits_BK: Tensor, loss: Tensor, total: Tensor = total) -> None:
                total.add_(loss)

            source = generator(seed, "continual-training", epoch)
            descent.epoch(images.at, images.labels_N, [source], plan.rate(epoch), add, penalty)
            if not bool(total.isfinite()):
                raise RunError(
                    f"The network diverged in epoch {epoch + 1}: its loss is no longer finite.",
                    "Try a smaller --lr, --balance-lr or --distillation-weight.",
                )

            def tensors(epoch: int = epoch) -> dict[str, Tensor]:
                return {"epoch": torch.tensor(epoch + 1), **descent.tensors()}

            keep(epoch + 1, epochs, tensors)
        return self.network_of({"epoch": torch.tensor(epochs), **descent.tensors()}, network.outputs)

    @staticmethod
    def network_of(kept: Mapping[str, Tensor], outputs: int) -> Network:
        """The network in what `keep` was given."""
        parameters, buffers = (
            {name: tensor[0] for name, tensor in tensors_of(kept, part).items()} for part in ("parameter", "buffer")
        )
        return Network(outputs, parameters, buffers)

    def _distillation(self, teacher: Network) -> Penalty:
        settings, module = self.settings, self.structure(teacher.outputs).eval()
        parameters_M, buffers_M = stack([teacher.parameters]), stack([teacher.buffers])

        def penalty(batches: list[Tensor], logits_BK: Tensor) -> Tensor:
            with torch.no_grad():
                taught_BK = stacked_logits(module, parameters_M, buffers_M, batches, settings.precision)
            return settings.distillation * distillation(logits_BK, taught_BK, settings.temperature)

        return penalty


def distillation(logits_BK: Tensor, taught_BL: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of the student's softened answers with the teacher's, in the mean over the batch.

    Args:
        logits_BK: the student's, K outputs.
        taught_BL: the teacher's, of the first L of them.
        temperature: τ.
    """
    student_BL = F.log_softmax(logits_BK[:, : taught_BL.shape[1]] / temperature, dim=1)
    return -(F.softmax(taught_BL / temperature, dim=1) * student_BL).sum(1).mean()
