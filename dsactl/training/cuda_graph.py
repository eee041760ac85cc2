"""Training with CUDA graphs: `sgd.PlainTraining` for a GPU, with one replay per step and the same draws.

Shapes: as in `training.sgd`; W numbers describe the augmentation of an image.
"""

import warnings
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from dsactl.engine.graphs import Graph, send
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.networks.build import Buffers, Parameters
from dsactl.training.sgd import PlainTraining, Plan, Training, sgd_step, summed_loss


class PackedAugment(Protocol):
    """An augmentation drawn on the host and applied on the device (see `augmentation.packed.Augmenter`)."""

    def __call__(self, images_NCHW: Tensor, generator: Generator) -> Tensor:
        """Draw and apply."""

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Draw rows of numbers for `count` images, count×W on the CPU."""

    def apply(self, images_NCHW: Tensor, packed_NW: Tensor) -> Tensor:
        """Augment the images as the rows say."""


class CapturedTraining(Training):
    """Training of M networks as by `PlainTraining`. A step is captured when first needed and kept for later calls.

    Args:
        network: provides the structure; it is put into training mode.
        plan: see `Plan`; one without CutMix.
        augment: applied to every batch; None for no augmentation.
    """

    def __init__(self, network: nn.Module, plan: Plan, augment: PackedAugment | None = None) -> None:
        self._network, self._plan, self._augment = network, plan, augment
        self._steps: dict[tuple[int, ...], _Step] = {}

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
        plan, count, device = self._plan, len(images_NCHW), images_NCHW.device
        key = (len(generators), *images_NCHW.shape)
        if key not in self._steps:
            self._steps[key] = _Step(self._network, plan, self._augment, parameters_M, buffers_M, images_NCHW, labels_N)
        step = self._steps[key]
        step.load(parameters_M, buffers_M, images_NCHW, labels_N)
        for epoch in range(plan.epochs):
            step.set_rate(plan.rate(epoch))
            if plan.schedule.resets(epoch):
                step.reset_momentum()
            orders_MN = torch.stack([torch.randperm(count, generator=generator) for generator in generators])
            batches = torch.split(orders_MN, plan.batch, dim=1)
            packed = [self._draw(batch_MB.shape[1], generators) for batch_MB in batches]
            orders_MN, packed_MNW = send(orders_MN, device), send(torch.cat(packed, dim=1), device)
            for chosen_MB, packed_MBW in zip(
                torch.split(orders_MN, plan.batch, dim=1), torch.split(packed_MNW, plan.batch, dim=1), strict=True
            ):
                step(chosen_MB, packed_MBW)
            progress.update(epoch + 1, plan.epochs)
        return step.result()

    def _draw(self, count: int, generators: Sequence[Generator]) -> Tensor:
        if self._augment is None:
            return torch.zeros(len(generators), count, 1)
        return torch.stack([self._augment.draw(count, generator) for generator in generators])


class _Step:
    """A step of SGD on tensors at fixed addresses, with one graph for each batch size."""

    def __init__(
        self,
        network: nn.Module,
        plan: Plan,
        augment: PackedAugment | None,
        parameters_M: Parameters,
        buffers_M: Buffers,
        images_NCHW: Tensor,
        labels_N: Tensor,
    ) -> None:
        self._network, self._plan, self._augment = network, plan, augment
        self._parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters_M.items()}
        self._leaves = list(self._parameters.values())
        self._buffers = {name: tensor.clone() for name, tensor in buffers_M.items()}
        self._velocity = [torch.zeros_like(tensor) for tensor in self._leaves]
        self._images, self._labels = images_NCHW.clone(), labels_N.clone()
        self._lr = torch.tensor(plan.lr, device=images_NCHW.device)
        self._graphs: dict[tuple[int, ...], tuple[Graph[None], Tensor, Tensor]] = {}

    def load(self, parameters_M: Parameters, buffers_M: Buffers, images_NCHW: Tensor, labels_N: Tensor) -> None:
        """Start a training from these values."""
        self._network.train()
        with torch.no_grad():
            for name, tensor in parameters_M.items():
                self._parameters[name].copy_(tensor)
            for name, tensor in buffers_M.items():
                self._buffers[name].copy_(tensor)
            self._images.copy_(images_NCHW)
        self._labels.copy_(labels_N)
        self.reset_momentum()

    def set_rate(self, lr: float) -> None:
        """Continue with this learning rate."""
        self._lr.fill_(lr)

    def reset_momentum(self) -> None:
        """Continue with zero momentum."""
        torch._foreach_zero_(self._velocity)

    def __call__(self, chosen_MB: Tensor, packed_MBW: Tensor) -> None:
        """Take one step on the chosen images, with packed augmentations."""
        key = tuple(chosen_MB.shape)
        if key not in self._graphs:
            self._graphs[key] = self._capture(chosen_MB.clone(), packed_MBW.clone())
        graph, chosen, packed = self._graphs[key]
        chosen.copy_(chosen_MB)
        packed.copy_(packed_MBW)
        graph.replay()

    def result(self) -> tuple[Parameters, Buffers]:
        """Return copies of the current parameters and buffers."""
        parameters = {name: tensor.detach().clone() for name, tensor in self._parameters.items()}
        return parameters, {name: tensor.clone() for name, tensor in self._buffers.items()}

    def _capture(self, chosen_MB: Tensor, packed_MBW: Tensor) -> tuple[Graph[None], Tensor, Tensor]:
        """Capture a step; return the graph and its inputs. Capturing trains, so all values are restored after."""
        moved = [*self._leaves, *self._velocity, *self._buffers.values()]
        before = [tensor.detach().clone() for tensor in moved]

        def step() -> None:
            batch = self._images[chosen_MB.flatten()]
            if self._augment is not None:
                batch = self._augment.apply(batch, packed_MBW.flatten(0, 1))
            batches = list(batch.view(*chosen_MB.shape, *batch.shape[1:]).unbind())
            labels_MB = self._labels[chosen_MB]
            precision = self._plan.precision
            loss = summed_loss(self._network, self._parameters, self._buffers, batches, labels_MB, precision)
            sgd_step(self._leaves, self._velocity, torch.autograd.grad(loss, self._leaves), self._plan, self._lr)

        graph = Graph(step)
        with torch.no_grad():
            for tensor, value in zip(moved, before, strict=True):
                tensor.copy_(value)
        return graph, chosen_MB, packed_MBW


class TrainingWithFallback(Training):
    """Training by `CapturedTraining`, or by `PlainTraining` once a capture has failed: same draws, same result.

    Args:
        network, plan, augment: see `CapturedTraining`.
    """

    def __init__(self, network: nn.Module, plan: Plan, augment: PackedAugment | None = None) -> None:
        self._captured: CapturedTraining | None = CapturedTraining(network, plan, augment)
        self._plain = PlainTraining(network, plan, augment)

    def __call__(
        self,
        parameters_M: Parameters,
        buffers_M: Buffers,
        images_NCHW: Tensor,
        labels_N: Tensor,
        generators: Sequence[Generator],
        progress: Progress = NO_PROGRESS,
    ) -> tuple[Parameters, Buffers]:
        """Train; see `Training`.

        Raises:
            torch.OutOfMemoryError: passed on, since training without graphs would need as much memory.
        """
        if self._captured is not None:
            before = [generator.get_state() for generator in generators]
            try:
                return self._captured(parameters_M, buffers_M, images_NCHW, labels_N, generators, progress)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._captured = None
                for generator, state in zip(generators, before, strict=True):
                    generator.set_state(state)
                why = str(error).partition("\n")[0]
                warnings.warn(f"Training continues without CUDA graphs, which failed ({why}).", stacklevel=2)
        return self._plain(parameters_M, buffers_M, images_NCHW, labels_N, generators, progress)
