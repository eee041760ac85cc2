"""One inner step of Algorithm 1 (lines 5 to 8): the distances of all classes and their gradient.

All random numbers are drawn on the host, from generators of their position; the arithmetic that follows does not depend
on them. On a GPU it is captured once and replayed.

Shapes: K classes, k of them at once, I stored images per class, J of them decoded, C, H, W, R real images per class, W
numbers for an ω.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.packed import apply, apply_composed, pack
from dsactl.augmentation.strategy import SCHEMES, Combination
from dsactl.augmentation.transforms import Draw, Pair, augment, draw, draw_pair
from dsactl.data.dataset import Dataset, sample_without_replacement
from dsactl.engine.compilation import compiled
from dsactl.engine.graphs import Graph, send
from dsactl.engine.memory import free_gpu_memory
from dsactl.engine.mode import Mode, best_mode
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.matching import (
    Loss,
    MatchingGradient,
    loss_function,
    matching_gradient,
    real_gradient,
)
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.networks.build import Buffers, Parameters, count_outputs, structure
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe
from dsactl.training.sgd import stack, tensors_of

BATCH_NORM_IMAGES = 16  # real images per class for the running statistics
CPU_IMAGES_AT_ONCE = 16  # synthetic images, see `classes_at_once`
REAL_IMAGES_AT_ONCE = 64  # on a CPU: activations that stay in its cache, a tenth faster than 256


Augmentation = Callable[[Tensor], Tensor]
DRAWS: dict[Combination, Draw] = {"one": draw, "composed": draw_composed}


@dataclass(frozen=True)
class _Draws:
    """The random draws of a step for k classes, on the CPU.

    Attributes:
        labels_k: the classes.
        indices: of each class's real images in the training split: R, or all if there are fewer.
        omegas: transformations of each class's real and synthetic images: the same one, or by the recipe's scheme.
        chosen: indices of each class's synthetic images in the batch; None if it holds all of them.
    """

    labels_k: Tensor
    indices: list[Tensor]
    omegas: list[Pair]
    chosen: list[Tensor] | None


def draw_class(real: Dataset, recipe: Recipe, synthetic: int, k: int, t: int, label: int) -> tuple[Tensor, Pair]:
    """Draw the real images and the transformations of a step for one class.

    Args:
        real: the dataset.
        recipe: of Algorithm 1.
        synthetic: number of synthetic images.
        k, t, label: the position of the draws.

    Returns:
        Indices of the class's real images in the training split, on the CPU, and the transformations of the real and
        the synthetic images.
    """
    settings = recipe.settings_as(GradientMatching)
    indices_R = real.choose(label, settings.batch_real, generator(recipe.seed, "real-batch", k, t, label))
    source = generator(recipe.seed, "transformation", k, t, label)
    counts, variant = (len(indices_R), synthetic), settings.variant
    kinds, how = variant.kinds(recipe.strategy), DRAWS[variant.combination]
    return indices_R, draw_pair(SCHEMES[settings.scheme], kinds, counts, real.size, source, how)


class InnerStep:
    """Distances and gradients for all classes, chunk by chunk.

    Args:
        real: the dataset, on the device.
        recipe: of Algorithm 1.
        network: the structure for first-order gradients; may be fused.
        mode: how to compute.
        processes: that share the classes.
    """

    def __init__(
        self, real: Dataset, recipe: Recipe, network: nn.Module, mode: Mode, processes: Processes = SINGLE_PROCESS
    ) -> None:
        assert recipe.network is not None
        self._real, self._recipe, self._network, self._processes = real, recipe, network, processes
        settings = recipe.settings_as(GradientMatching)
        self._batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        # Fused layers cannot be differentiated twice; compiled layers need no fusing.
        twice = structure(recipe.network, real.channels, real.size, real.classes)
        # Evaluation mode freezes the batch norm, and changes no other layer.
        twice.train(not self._batch_norm)
        self._own = processes.share(real.classes)
        self._chunk = max(1, min(mode.chunk, len(self._own)))
        self._at_once = REAL_IMAGES_AT_ONCE if mode.device == "cpu" else None
        self._loss: Loss = loss_function(network, recipe.precision)
        matching = matching_gradient(
            loss_function(twice, recipe.precision),
            metric=settings.distance,
            match=settings.variant.match,
            stacked=self._chunk > 1,
        )
        self._matching: MatchingGradient = compiled(matching) if mode.compiled else matching
        self._captured = mode.captured
        self._kinds = settings.variant.kinds(recipe.strategy)
        self._apply = apply_composed if settings.variant.combination == "composed" else apply
        self._decode = parametrisation(recipe.formation).decode
        self._graphs: dict[int, _CapturedMatch] = {}

    def running_statistics(self, parameters: Parameters, buffers: Buffers, k: int, t: int) -> Buffers:
        """Update the running statistics by one forward pass of real images in training mode."""
        if not self._batch_norm:
            return buffers
        sources = [generator(self._recipe.seed, "batch-norm", k, t, label) for label in range(self._real.classes)]
        images = [self._real.draw(label, BATCH_NORM_IMAGES, source) for label, source in enumerate(sources)]
        buffers = {name: tensor.clone() for name, tensor in buffers.items()}
        self._network.train()
        with torch.no_grad():
            functional_call(self._network, (parameters, buffers), (torch.cat(images),))
        return buffers

    def __call__(
        self, parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, k: int, t: int
    ) -> tuple[Tensor, Tensor]:
        """Return distance_K, and the gradient of their sum with respect to the images, K×I×C×H×W.

        Args:
            parameters, buffers: of the network.
            images_KICHW: the synthetic images.
            k, t: outer iteration and inner step, the position of the draws.

        Raises:
            ProcessError: another process died.
        """
        self._network.train(not self._batch_norm)
        rows = []
        for first in range(0, len(self._own), self._chunk):
            labels = self._own[first : first + self._chunk]
            draws = self._draw(labels, k, t)
            images_kICHW = images_KICHW[labels.start : labels.stop]
            match = self._replay if self._captured else self._compute
            distance_k, gradient_kICHW = match(parameters, buffers, images_kICHW, draws)
            rows.append(torch.cat([distance_k[:, None], gradient_kICHW.flatten(1)], dim=1))
        own_kX = torch.cat(rows) if rows else images_KICHW.new_empty(0, 1 + images_KICHW[0].numel())
        all_KX = self._processes.gather(own_kX, self._real.classes)
        return all_KX[:, 0], all_KX[:, 1:].view_as(images_KICHW)

    def _draw(self, labels: range, k: int, t: int) -> _Draws:
        recipe, chosen = self._recipe, None
        synthetic = synthetic_batch(recipe)
        if synthetic < recipe.decoded:
            sources = [generator(recipe.seed, "synthetic-batch", k, t, label) for label in labels]
            chosen = [sample_without_replacement(recipe.decoded, synthetic, source) for source in sources]
        drawn = [draw_class(self._real, recipe, synthetic, k, t, label) for label in labels]
        indices, omegas = [indices for indices, _ in drawn], [omega for _, omega in drawn]
        return _Draws(torch.arange(labels.start, labels.stop), indices, omegas, chosen)

    def _compute(
        self, parameters: Parameters, buffers: Buffers, images_kICHW: Tensor, draws: _Draws
    ) -> tuple[Tensor, Tensor]:
        device = images_kICHW.device
        indices = [send(each, device) for each in draws.indices]
        chosen = draws.chosen and [send(each, device) for each in draws.chosen]
        augmentations = [
            (partial(augment, transformation=real), partial(augment, transformation=synthetic))
            for real, synthetic in draws.omegas
        ]
        return self._match(parameters, buffers, images_kICHW, draws.labels_k.to(device), indices, augmentations, chosen)

    def _replay(
        self, parameters: Parameters, buffers: Buffers, images_kICHW: Tensor, draws: _Draws
    ) -> tuple[Tensor, Tensor]:
        count = len(draws.labels_k)
        inputs = {
            "images": images_kICHW,
            "labels": draws.labels_k,
            "indices": torch.stack(draws.indices),
            "real_omegas": torch.stack([pack(real) for real, _ in draws.omegas]),
            "synthetic_omegas": torch.stack([pack(synthetic) for _, synthetic in draws.omegas]),
            **({} if draws.chosen is None else {"chosen": torch.stack(draws.chosen)}),
            **{f"parameter.{name}": tensor for name, tensor in parameters.items()},
            **{f"buffer.{name}": tensor for name, tensor in buffers.items()},
        }
        if count not in self._graphs:
            self._graphs[count] = _CapturedMatch(self._match_packed, inputs, images_kICHW.device)
        return self._graphs[count](inputs)

    def _match_packed(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Call `_match` with tensors only, on whose values the control flow does not depend."""
        augmentations = [
            (self._unpacked(real), self._unpacked(synthetic))
            for real, synthetic in zip(inputs["real_omegas"], inputs["synthetic_omegas"], strict=True)
        ]
        chosen = list(inputs["chosen"]) if "chosen" in inputs else None
        return self._match(
            tensors_of(inputs, "parameter"),
            tensors_of(inputs, "buffer"),
            inputs["images"],
            inputs["labels"],
            list(inputs["indices"]),
            augmentations,
            chosen,
        )

    def _unpacked(self, packed: Tensor) -> Augmentation:
        return lambda images_NCHW: self._apply(images_NCHW, packed, self._kinds)

    def _match(
        self,
        parameters: Parameters,
        buffers: Buffers,
        images_kICHW: Tensor,
        labels_k: Tensor,
        indices: list[Tensor],
        augmentations: Sequence[tuple[Augmentation, Augmentation]],
        chosen: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Compute distances and gradients of k classes from the draws, all on the device."""
        images_kICHW = images_kICHW.detach().requires_grad_()
        real, augmented = [], []
        for index, (augment_real, augment_synthetic) in enumerate(augmentations):
            batch_RCHW = augment_real(self._real.at(indices[index]))
            label = labels_k[index]
            real.append(real_gradient(self._loss, parameters, buffers, batch_RCHW, label, self._at_once))
            own_JCHW = self._decode(images_kICHW[index])
            augmented.append(augment_synthetic(own_JCHW if chosen is None else own_JCHW[chosen[index]]))
        # ω differs between classes, so A_ω stays outside of the stacked function: the chain rule's last factor, ∂A/∂S,
        # is applied here (the equation after eq. 3).
        augmented_kICHW = torch.stack(augmented)
        distance_k, gradient_kICHW = self._matching(
            parameters, buffers, augmented_kICHW.detach(), labels_k, stack(real)
        )
        (gradient_kICHW,) = torch.autograd.grad(augmented_kICHW, images_kICHW, gradient_kICHW)
        return distance_k, gradient_kICHW


class _CapturedMatch:
    """A function of named tensors, captured as a graph with inputs at fixed addresses."""

    def __init__(
        self,
        function: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]],
        inputs: dict[str, Tensor],
        device: torch.device,
    ) -> None:
        self._device = device
        self._inputs = {name: tensor.detach().to(device, copy=True) for name, tensor in inputs.items()}
        self._graph = Graph(lambda: function(self._inputs))

    def __call__(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        for name, tensor in inputs.items():
            self._inputs[name].copy_(send(tensor, self._device))
        distance_k, gradient_kICHW = self._graph.replay()
        return distance_k.clone(), gradient_kICHW.clone()


def choose_mode(
    real: Dataset, recipe: Recipe, device: torch.device, *, long: bool, processes: Processes = SINGLE_PROCESS
) -> Mode:
    """Return the fastest mode for a recipe on this machine.

    Args:
        real: the dataset.
        recipe: of Algorithm 1.
        device: to compute on.
        long: whether the work is long enough for the half minute that compiling takes.
        processes: that share the classes.
    """
    uniform = min(real.train.counts) >= recipe.settings_as(GradientMatching).batch_real
    room = math.inf if device.type != "cuda" else free_gpu_memory(device) / 2
    return best_mode(
        device,
        long=long,
        capture=uniform and class_bytes(recipe, real.classes) < room,
        processes=processes.count,
        chunk=classes_at_once(len(processes.share(real.classes)), recipe, device),
    )


def classes_at_once(classes: int, recipe: Recipe, device: torch.device) -> int:
    """Return how many classes the matching should stack: a divisor of `classes`, so that all chunks have one size.

    A GPU takes what fits into half of its free memory, rounded down to a power of two so that small differences in free
    memory do not change the result's bits. A CPU takes few images, since stacking costs more there than the calls it
    saves: for 10 classes of CIFAR-10 on two cores, compiled in bfloat16, 26 ms stacked and 47 ms one by one at one
    image per class, 238 and 118 ms at ten.

    Args:
        classes: number of this process's classes.
        recipe: of Algorithm 1.
        device: to compute on.
    """
    most = CPU_IMAGES_AT_ONCE // synthetic_batch(recipe)
    if device.type == "cuda":
        fit = int(free_gpu_memory(device) / 2 / class_bytes(recipe, classes))
        most = 1 << (fit.bit_length() - 1) if fit else 1
    return next((chunk for chunk in range(min(classes, most), 0, -1) if classes % chunk == 0), 1)


def synthetic_batch(recipe: Recipe) -> int:
    """Return the number of synthetic images per class in a matching step."""
    return min(recipe.decoded, recipe.settings_as(GradientMatching).batch_synthetic)


def class_bytes(recipe: Recipe, classes: int) -> float:
    """Estimate the memory of matching one class on a GPU, in bytes."""
    assert recipe.network is not None
    channels, height, width = recipe.image_shape
    network = structure(recipe.network, channels, (height, width), classes)
    outputs = count_outputs(network, synthetic_batch(recipe), recipe.image_shape)
    weights = sum(parameter.numel() for parameter in network.parameters())
    # On a GPU affine kinds are products with a matrix of all pixels, and captured steps compute every kind.
    kinds = recipe.settings_as(GradientMatching).variant.kinds(recipe.strategy)
    affine = sum(kind in ("scale", "rotate") for kind in kinds) * (height * width) ** 2
    # Each output is kept for the first pass, its backward pass, and the second pass over both.
    return 4.0 * (8 * outputs + 4 * weights + 2 * affine)
