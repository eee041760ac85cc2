"""Tasks of an evaluation: networks are trained on a set, and each is tested once, at the end.

Shapes: N images, B of a batch, C, H, W, M networks side by side.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dsactl.augmentation.packed import Augmenter
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.device import prepare_device
from dsactl.engine.memory import free_gpu_memory, keep_freed_memory
from dsactl.engine.progress import Progress
from dsactl.engine.random import generator
from dsactl.evaluation.protocol import NetworkResult
from dsactl.networks.build import count_outputs, initial_state, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.networks.fused import fuse
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.cuda_graph import TrainingWithFallback
from dsactl.training.sgd import Augment, PlainTraining, Plan, Training, count_correct, stack, unstack

TEST_BATCH = 500


@dataclass(eq=False)
class Networks:
    """The networks of an evaluation: everything that decides their results, except their numbers.

    Attributes:
        synthetic: the set that they are trained on.
        dataset: its test split is for testing.
        network: the resolved network.
        plan: of the training.
        augment: augments a training batch; None for no augmentation.
        seed: the random seed.
    """

    synthetic: SyntheticSet
    dataset: Dataset
    network: NetworkSpec
    plan: Plan
    augment: Augment | None
    seed: int
    _ready: "dict[str, _Ready]" = field(default_factory=dict, repr=False)

    def structure(self) -> nn.Module:
        """Return a network without weights."""
        return structure(self.network, self.dataset.channels, self.dataset.size, self.dataset.classes)

    def side_by_side(self, device: torch.device) -> int:
        """Return how many networks to train side by side.

        On a GPU as many as fit in half of the free memory, 20 at most. On a CPU several only where one network's step
        is mostly overhead: measured on two cores with ten networks, side by side took 0.3 to 0.5 of the time for an
        MLP, 0.7 for a ConvNet on ten 8×8 images, and 1.3 to 1.4 of it for a ConvNet on more or larger ones.
        """
        network = self.structure()
        modules = list(network.modules())
        if any(isinstance(module, nn.BatchNorm2d) for module in modules):
            return 1
        batch = min(self.plan.batch, len(self.synthetic))
        if device.type == "cuda":
            return max(1, min(20, int(free_gpu_memory(device) / 2 / _training_bytes(network, self.synthetic, batch))))
        overhead = batch * self.synthetic.size[0] * self.synthetic.size[1] <= 1024
        return 20 if overhead or not any(isinstance(module, nn.Conv2d) for module in modules) else 1

    def ready(self, device: str) -> "_Ready":
        """Return the network, the training and the images on a device; built once in a process."""
        if device not in self._ready:
            self._ready[device] = _Ready.of(self, torch.device(device))
        return self._ready[device]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_ready": {}}


@dataclass(frozen=True)
class _Ready:
    """The network, its training and the images on a device."""

    network: nn.Module
    training: Training
    synthetic: SyntheticSet
    dataset: Dataset

    @classmethod
    def of(cls, networks: Networks, device: torch.device) -> "_Ready":
        prepare_device(device)
        if device.type == "cpu":
            keep_freed_memory()
        network = networks.structure()
        if is_fused(networks.side_by_side(device), device):
            fuse(network)
        training = training_on(device, network, networks.plan, networks.augment)
        return cls(network, training, networks.synthetic.to(device), networks.dataset.to(device))


def training_on(device: torch.device, network: nn.Module, plan: Plan, augment: Augment | None) -> Training:
    """Return the training for a device: on a GPU with CUDA graphs, if these can capture its steps."""
    if device.type == "cuda" and not plan.cutmix and (augment is None or isinstance(augment, Augmenter)):
        return TrainingWithFallback(network, plan, augment)
    return PlainTraining(network, plan, augment)


def is_fused(side_by_side: int, device: torch.device) -> bool:
    """Return whether networks are trained with this program's own compiled layers."""
    return side_by_side == 1 and device.type == "cpu"


def train_and_test(networks: Networks, indices: range, device: str, progress: Progress) -> list[NetworkResult]:
    """Train some networks side by side, test each, and return their results.

    Args:
        networks: the networks.
        indices: the numbers of those to train. The accuracy of a network does not depend on the others: on one thread
            to the bit, on several except for the order of float sums.
        device: where to compute.
        progress: updated after every epoch.
    """
    began = time.monotonic()
    ready = networks.ready(device)
    network, synthetic, dataset = ready.network, ready.synthetic, ready.dataset
    # One alone would take other kernels, whose bits differ: where several could be trained, it is trained twice.
    alone = len(indices) == 1 and device == "cpu" and networks.side_by_side(torch.device(device)) > 1
    trained = [*indices, *indices] if alone else indices
    sources = (generator(networks.seed, "evaluation-network", index) for index in trained)
    states = [initial_state(network, source, synthetic.images.device) for source in sources]
    parameters_M, buffers_M = ready.training(
        stack([parameters for parameters, _ in states]),
        stack([buffers for _, buffers in states]),
        synthetic.images,
        synthetic.targets,
        [generator(networks.seed, "evaluation-training", index) for index in trained],
        progress,
    )
    correct = [
        count_correct(
            network,
            unstack(parameters_M, m),
            unstack(buffers_M, m),
            in_batches(dataset.test, synthetic.normalise),
            networks.plan.precision,
        )
        for m in range(len(indices))
    ]
    each = (time.monotonic() - began) / len(indices)
    return [NetworkResult(100 * count / len(dataset.test), each) for count in correct]


def _training_bytes(network: nn.Module, synthetic: SyntheticSet, batch: int) -> float:
    """Estimate the bytes of training one network: all outputs, their gradients, and four copies of the weights."""
    outputs = count_outputs(network, batch, synthetic.images.shape[1:])
    return 4.0 * (2 * outputs + 4 * sum(parameter.numel() for parameter in network.parameters()))


def in_batches(images: ImageSet, normalise: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield test batches: normalised images B×C×H×W and their labels."""
    batches = (torch.split(tensor, TEST_BATCH) for tensor in (images.images_NCHW, images.labels_N))
    for pixels_BCHW, labels_B in zip(*batches, strict=True):
        yield normalise(pixels_BCHW), labels_B
