"""Algorithm 1: dataset condensation with differentiable Siamese augmentation.

    for k = 0 … K−1:                                     outer iterations
        θ_0 ~ P(θ_0)                                     a fresh network
        for t = 0 … T−1:                                 inner steps
            for every class c:
                ω ~ Ω;  B_c^T ~ T,  B_c^S ~ S
                D(∇_θ L(A_ω(B_c^S)), ∇_θ L(A_ω(B_c^T)))
            S ← S − η_S ∇_S Σ_c D                        one step of SGD with momentum
            θ_{t+1} ← SGD on L(A(S)), ς_θ epochs         except after the last inner step

The classes' images are disjoint and θ is fixed within an inner step, so the sum over classes is one step for all.
DC is the same with no kind of augmentation. Batch norm uses statistics of real images, frozen for the matching.

Shapes: K classes, I images per class, C, H, W, R real images per class; a chunk of K classes where memory asks for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from dsactl.data.dataset import Dataset, draw_without_replacement
from dsactl.dsa.augmentation import augment, draw
from dsactl.dsa.matching import Loss, MatchingGradient, loss_function, matching_gradient, real_gradient
from dsactl.engine.compilation import compiled
from dsactl.engine.random import generator
from dsactl.networks.build import Buffers, Parameters, initial_state, structure
from dsactl.recipe import Recipe
from dsactl.training import Plan, stack, train, unstack

BATCH_NORM_IMAGES = 16  # real images per class for the running statistics


@dataclass(frozen=True)
class State:
    """Where a run stands, before inner step `step` of outer iteration `iteration`. Nothing else is needed to go on.

    Attributes:
        images_KICHW: the synthetic images, in normalised space, never clamped.
        velocity_KICHW: their momentum, kept across networks.
        parameters, buffers: of the network; empty before step 0, which draws a new one.
        distance_K: of the last step taken, per class; empty before the first.
    """

    iteration: int
    step: int
    images_KICHW: Tensor
    velocity_KICHW: Tensor
    parameters: Parameters = field(default_factory=dict)
    buffers: Buffers = field(default_factory=dict)
    distance_K: Tensor = field(default_factory=lambda: torch.empty(0))


def initial(real: Dataset, recipe: Recipe) -> State:
    """The state before the first step: real images of each class, or noise in normalised space."""
    device = real.train.images_NCHW.device
    shape = (recipe.ipc, real.channels, *real.size)
    images = []
    for label in range(real.classes):
        source = generator(recipe.seed, "initial-images", label)
        if recipe.init == "real":
            images.append(real.draw(label, recipe.ipc, source))
        else:
            images.append(torch.randn(shape, generator=source).to(device))
    images_KICHW = torch.stack(images)
    return State(0, 0, images_KICHW, torch.zeros_like(images_KICHW))


def condense(
    real: Dataset,
    recipe: Recipe,
    start: State | None = None,
    *,
    compile_it: bool = False,
    phase: Callable[[str], None] = lambda doing: None,
) -> Iterator[State]:
    """Run Algorithm 1, giving the state after every inner step.

    Every state is whole: the iterator can be dropped at any time, and another one started from the last state it gave
    goes on to the same bits.

    Args:
        real: on the device to compute on.
        recipe: of method "dsa" or "dc".
        start: where to go on; None for the beginning.
        compile_it: compile the two gradients (see `engine.compilation`).
        phase: told what comes next, in a few words.
    """
    assert recipe.network is not None, "Algorithm 1 needs a network"
    state = initial(real, recipe) if start is None else start
    network = structure(recipe.network, real.channels, real.size, real.classes)
    step = _InnerStep(real, recipe, network, compile_it)
    labels_N = torch.arange(real.classes, device=state.images_KICHW.device).repeat_interleave(recipe.ipc)
    plan = Plan(recipe.network_epochs, recipe.network_lr, batch=recipe.batch_train, precision=recipe.precision)

    def augment_batch(images_NCHW: Tensor, source: Generator) -> Tensor:
        return augment(images_NCHW, draw(recipe.strategy, len(images_NCHW), real.size, source))

    images_KICHW, velocity_KICHW = state.images_KICHW, state.velocity_KICHW
    parameters, buffers = state.parameters, state.buffers
    first = state.step
    for k in range(state.iteration, recipe.iterations):
        for t in range(first, recipe.inner_steps):
            if t == 0:
                parameters, buffers = initial_state(network, generator(recipe.seed, "network", k), images_KICHW.device)
            phase("matching gradients")
            buffers = step.running_statistics(parameters, buffers, k, t)
            distance_K, gradient_KICHW = step(parameters, buffers, images_KICHW, k, t)
            velocity_KICHW = recipe.image_momentum * velocity_KICHW + gradient_KICHW
            images_KICHW = images_KICHW - recipe.image_lr * velocity_KICHW
            if t == recipe.inner_steps - 1:
                yield State(k + 1, 0, images_KICHW, velocity_KICHW, distance_K=distance_K)
                break
            phase("training the network")
            stacked = train(
                network,
                stack([parameters]),
                stack([buffers]),
                images_KICHW.flatten(0, 1),
                labels_N,
                plan,
                [generator(recipe.seed, "network-training", k, t)],
                augment_batch,
            )
            parameters, buffers = (unstack(part, 0) for part in stacked)
            yield State(k, t + 1, images_KICHW, velocity_KICHW, parameters, buffers, distance_K)
        first = 0


class _InnerStep:
    """Lines 5 to 8 of Algorithm 1: distances and their gradient for all classes, chunk by chunk."""

    def __init__(self, real: Dataset, recipe: Recipe, network: nn.Module, compile_it: bool) -> None:
        self._real, self._recipe, self._network = real, recipe, network
        self._chunk = _classes_at_once(real, recipe, network)
        loss = loss_function(network, recipe.precision)
        matching = matching_gradient(loss, metric=recipe.distance, stacked=self._chunk > 1)  # type: ignore[arg-type]
        self._loss: Loss = compiled(loss) if compile_it else loss
        self._matching: MatchingGradient = compiled(matching) if compile_it else matching
        self._batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())

    def running_statistics(self, parameters: Parameters, buffers: Buffers, k: int, t: int) -> Buffers:
        """One forward pass of real images in training mode, which moves the running statistics."""
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
        """distance_K, and the gradient of their sum with respect to the images, K×I×C×H×W."""
        # Evaluation mode freezes the batch norm; no other layer heeds it.
        self._network.train(not self._batch_norm)
        chunks = torch.split(torch.arange(self._real.classes), self._chunk)
        results = [self._some_classes(parameters, buffers, images_KICHW, chunk.tolist(), k, t) for chunk in chunks]
        return torch.cat([distance for distance, _ in results]), torch.cat([gradient for _, gradient in results])

    def _some_classes(
        self, parameters: Parameters, buffers: Buffers, images_KICHW: Tensor, labels: list[int], k: int, t: int
    ) -> tuple[Tensor, Tensor]:
        recipe = self._recipe
        images_KICHW = images_KICHW[labels[0] : labels[-1] + 1].detach().requires_grad_()
        real, augmented = [], []
        for index, label in enumerate(labels):
            position = (k, t, label)
            omega = draw(recipe.strategy, 1, self._real.size, generator(recipe.seed, "transformation", *position))
            batch = self._real.draw(label, recipe.batch_real, generator(recipe.seed, "real-batch", *position))
            real.append(real_gradient(self._loss, parameters, buffers, augment(batch, omega), label))
            own_ICHW = images_KICHW[index]
            if recipe.ipc > recipe.batch_synthetic:
                source = generator(recipe.seed, "synthetic-batch", *position)
                own_ICHW = own_ICHW[draw_without_replacement(recipe.ipc, recipe.batch_synthetic, source)]
            augmented.append(augment(own_ICHW, omega))
        # ω differs from class to class, so A_ω stays outside of the stacked function: the chain rule's last factor,
        # ∂A/∂S, is applied here (the equation after eq. 3).
        augmented_KICHW = torch.stack(augmented)
        labels_K = torch.tensor(labels, device=images_KICHW.device)
        distance_K, gradient_KICHW = self._matching(
            parameters, buffers, augmented_KICHW.detach(), labels_K, stack(real)
        )
        (gradient_KICHW,) = torch.autograd.grad(augmented_KICHW, images_KICHW, gradient_KICHW)
        return distance_K, gradient_KICHW


def _classes_at_once(real: Dataset, recipe: Recipe, network: nn.Module) -> int:
    """How many classes the matching stacks: many on a GPU, few images' worth on a CPU, gradients of 1 GB at most."""
    images = 64 if real.train.images_NCHW.device.type == "cpu" else 4096
    weights = sum(parameter.numel() for parameter in network.parameters())
    return min(real.classes, max(1, images // recipe.ipc), max(1, 2**28 // weights))
