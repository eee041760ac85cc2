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
DC is the same without augmentation. IDC trains θ on real images, and clamps the images after the last inner step; see
`variant` for what else it does in another way. Batch norm uses statistics of real images, frozen for the matching.

Shapes: K classes, or a chunk of them if memory is short; I images per class, C, H, W, R real images per class.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dsactl.data.dataset import Dataset
from dsactl.engine.mode import PLAIN, Mode
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.methods.gradient_matching.inner_network import InnerNetwork
from dsactl.methods.gradient_matching.inner_step import InnerStep
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.methods.short_classes import fill
from dsactl.networks.build import Buffers, Parameters, structure
from dsactl.networks.fused import fuse
from dsactl.parametrisation.formation import parametrisation
from dsactl.recipes.recipe import Recipe


@dataclass(frozen=True)
class State:
    """The state of a run before inner step `step` of outer iteration `iteration`: all that is needed to continue.

    Attributes:
        images_KICHW: the synthetic images, in normalised space.
        velocity_KICHW: their momentum, kept across networks.
        parameters, buffers: of the network; empty before step 0, which draws a new one.
        network_velocity: momentum of the network's parameters; empty where its training has none.
        distance_K: matching distance of the last step, per class; empty before the first.
    """

    iteration: int
    step: int
    images_KICHW: Tensor
    velocity_KICHW: Tensor
    parameters: Parameters = field(default_factory=dict)
    buffers: Buffers = field(default_factory=dict)
    network_velocity: Parameters = field(default_factory=dict)
    distance_K: Tensor = field(default_factory=lambda: torch.empty(0))


def initial(real: Dataset, recipe: Recipe) -> State:
    """Return the state before the first step: real images of each class, or noise in normalised space."""
    settings = recipe.settings_as(GradientMatching)
    images_KICHW = initial_images(real, recipe, settings.init)
    if settings.variant.clamps:
        images_KICHW = clamp(images_KICHW, real)
    return State(0, 0, images_KICHW, torch.zeros_like(images_KICHW))


def initial_images(real: Dataset, recipe: Recipe, init: str) -> Tensor:
    """Return the first images, K×I×C×H×W: real ones of each class, or noise in normalised space.

    Args:
        real: the dataset.
        recipe: has the number of images per class, and the seed.
        init: "real" or "noise".
    """
    device, stored = real.train.images_NCHW.device, parametrisation(recipe.formation)
    shape = (recipe.ipc, real.channels, *real.size)
    images = []
    for label in range(real.classes):
        source = generator(recipe.seed, "initial-images", label)
        if init == "real":
            chosen = fill(real.choose(label, recipe.decoded, source), recipe)
            images.append(stored.encode(real.at(chosen.to(device))))
        else:
            images.append(torch.randn(shape, generator=source).to(device))
    return torch.stack(images)


def clamp(images_KICHW: Tensor, real: Dataset) -> Tensor:
    """Return the images with pixels within the range of real ones, (0 − mean) / std … (1 − mean) / std."""
    extremes_2C11 = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, real.channels, 1, 1)
    lowest_C11, highest_C11 = real.normalise(extremes_2C11.to(images_KICHW.device))
    return images_KICHW.clamp(lowest_C11, highest_C11)


def image_step(real: Dataset, recipe: Recipe) -> float | Tensor:
    """Return the learning rate of normalised images: a number, or one for each channel, C×1×1.

    For pixels p in 0 … 1, x = (p − mean) / std is normalised: a step of lr in p is one of lr / std² in x.
    """
    settings = recipe.settings_as(GradientMatching)
    if not settings.variant.unit_pixels:
        return settings.image_lr
    device = real.train.images_NCHW.device
    return torch.tensor([settings.image_lr / std**2 for std in real.std], device=device).view(-1, 1, 1)


def condense(
    real: Dataset,
    recipe: Recipe,
    start: State | None = None,
    *,
    mode: Mode = PLAIN,
    processes: Processes = SINGLE_PROCESS,
    phase: Callable[[str], None] = lambda doing: None,
) -> Iterator[State]:
    """Run Algorithm 1.

    Args:
        real: on the device to compute on.
        recipe: of Algorithm 1.
        start: the state to continue from; None to start from scratch.
        mode: how to compute; see `engine.mode.best_mode`.
        processes: that share the classes; each of them runs this function.
        phase: called with a short description of the next work.

    Yields:
        The state after every inner step. Each is complete: the iterator can be dropped at any time, and another one
        that starts from its last state continues bit-exactly.

    Raises:
        ProcessError: another process died.
    """
    assert recipe.network is not None, "Algorithm 1 needs a network"
    settings = recipe.settings_as(GradientMatching)
    state = initial(real, recipe) if start is None else start
    network = structure(recipe.network, real.channels, real.size, real.classes)
    if mode.native:
        fuse(network)
    step = InnerStep(real, recipe, network, mode, processes)
    inner_network = InnerNetwork(real, recipe, network, captured=mode.captured)

    image_lr = image_step(real, recipe)

    images_KICHW, velocity_KICHW = state.images_KICHW, state.velocity_KICHW
    parameters, buffers, network_velocity = state.parameters, state.buffers, state.network_velocity
    first = state.step
    for k in range(state.iteration, settings.iterations):
        for t in range(first, settings.inner_steps):
            if t == 0:
                (parameters, buffers), network_velocity = inner_network.fresh(k), {}
            phase("matching gradients")
            buffers = step.running_statistics(parameters, buffers, k, t)
            distance_K, gradient_KICHW = step(parameters, buffers, images_KICHW, k, t)
            velocity_KICHW = settings.image_momentum * velocity_KICHW + gradient_KICHW
            images_KICHW = images_KICHW - image_lr * velocity_KICHW
            if t == settings.inner_steps - 1:
                if settings.variant.clamps:
                    images_KICHW = clamp(images_KICHW, real)
                yield State(k + 1, 0, images_KICHW, velocity_KICHW, distance_K=distance_K)
                break
            phase("training the network")
            trained = inner_network.train(parameters, buffers, network_velocity, images_KICHW, k, t)
            parameters, buffers, network_velocity = trained
            yield State(k, t + 1, images_KICHW, velocity_KICHW, *trained, distance_K)
        first = 0
