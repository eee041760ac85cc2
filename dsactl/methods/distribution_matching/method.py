"""Distribution matching: each iteration matches mean features on a new, untrained network.

    for k = 0 … iterations − 1:
        θ ~ P(θ_0)
        v ← momentum · v + ∇_S Σ_c L_c(θ);  S ← S − lr · v

Shapes: K classes, I stored images per class, C, H, W.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsactl.augmentation.strategy import Strategy
from dsactl.augmentation.transforms import draw
from dsactl.engine.memory import free_gpu_memory
from dsactl.engine.mode import Mode, best_mode
from dsactl.engine.processes import DryRunGroup, Processes
from dsactl.errors import RunError
from dsactl.methods.distribution_matching.settings import DistributionMatching
from dsactl.methods.distribution_matching.step import FeatureMatching, feature_function
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.work import CondensedSet, MethodContext, try_smaller
from dsactl.networks.build import count_outputs, feature_extractor, initial_state, structure
from dsactl.networks.fused import fuse

IMAGES_AT_ONCE = {"cpu": 128, "cuda": 4096}
"""Decoded images in a pass through the network, at most; on a GPU fewer if they need over half of its free memory."""


def distribution_matching(work: MethodContext) -> CondensedSet:
    """Condense by matching the mean features of each class's images on untrained networks.

    Raises:
        RunError: the images diverged, or the checkpoint is damaged.
        ProcessError: another process died.
    """
    recipe, real = work.recipe, work.dataset
    settings = recipe.settings_as(DistributionMatching)
    state = work.resume() or _start(work)
    check_kept(work, state)
    work.expect(settings.iterations)

    def choose() -> Mode:
        return choose_mode(work, recipe.decoded, recipe.strategy)

    def try_out(mode: Mode) -> None:
        _Steps(work, mode, DryRunGroup(work.processes))(state["images"], 0)

    steps = _Steps(work, work.settle_mode(choose, try_out), work.processes)
    images_KICHW, velocity_KICHW = state["images"], state["velocity"]
    for k in range(work.done, settings.iterations):
        distance_K, gradient_KICHW = steps(images_KICHW, k)
        velocity_KICHW = settings.image_momentum * velocity_KICHW + gradient_KICHW
        images_KICHW = images_KICHW - settings.image_lr * velocity_KICHW
        loss = None
        if work.wants_figures or k + 1 == settings.iterations:
            loss = distance_K.sum().item()
            check_finite(work, images_KICHW, k)
        kept = {"images": images_KICHW, "velocity": velocity_KICHW}
        work.keep(k + 1, settings.iterations, kept, loss=loss, doing="matching features", copy=False)
    return CondensedSet(images_KICHW.flatten(0, 1), real.labels(recipe.ipc))


def choose_mode(work: MethodContext, images: int, kinds: Strategy) -> Mode:
    """Return the fastest mode of matching features.

    Args:
        work: the run.
        images: of a class that pass through a network together.
        kinds: of the transformations.
    """
    device = work.device
    chunk = min(work.dataset.classes, IMAGES_AT_ONCE.get(device.type, IMAGES_AT_ONCE["cpu"]) // images)
    if device.type == "cuda":
        fit = int(free_gpu_memory(device) / 2 / class_bytes(work, images, kinds))
        # A power of two, so that small differences in free memory do not change the result's bits.
        chunk = min(chunk, 1 << fit.bit_length() >> 1)
    return best_mode(device, long=False, capture=False, processes=work.processes.count, chunk=max(1, chunk))


def class_bytes(work: MethodContext, images: int, kinds: Strategy) -> float:
    """Estimate the memory of matching the features of one class on a GPU, in bytes; arguments as of `choose_mode`."""
    spec, real = work.recipe.network, work.dataset
    assert spec is not None
    network = structure(spec, real.channels, real.size, real.classes)
    outputs = count_outputs(network, images, (real.channels, *real.size))
    # With one ω for a class, affine kinds are products with a matrix of all pixels.
    affine = sum(kind in ("scale", "rotate") for kind in kinds) * math.prod(real.size) ** 2
    # Each output is kept for the backward pass, which computes its gradient.
    return 4.0 * (2 * outputs + 2 * affine)


def check_kept(work: MethodContext, state: Mapping[str, Tensor]) -> None:
    """Check the tensors that a run is resumed from.

    Raises:
        RunError: they are not images and velocity of the run's shape.
    """
    recipe, real = work.recipe, work.dataset
    shape = (real.classes, recipe.ipc, real.channels, *real.size)
    for name in ("images", "velocity"):
        if name not in state:
            work.refuse_checkpoint(f"has no {name!r}")
        if state[name].shape != shape:
            work.refuse_checkpoint(f"has {name} of another shape")


def check_finite(work: MethodContext, images_KICHW: Tensor, k: int) -> None:
    """Check the images after iteration k, in the process that speaks for all.

    Raises:
        RunError: they diverged.
    """
    if work.processes.rank == 0 and not torch.isfinite(images_KICHW).all():
        raise RunError(
            f"The images diverged in iteration {k}: they are no longer finite.", try_smaller(work.recipe, "image_lr")
        )


class _Steps:
    """The steps of a run: each draws its network."""

    def __init__(self, work: MethodContext, mode: Mode, processes: Processes) -> None:
        recipe, real = work.recipe, work.dataset
        assert recipe.network is not None
        self._work = work
        self._network = structure(recipe.network, real.channels, real.size, real.classes)
        extractor = feature_extractor(structure(recipe.network, real.channels, real.size, real.classes)).train()
        if mode.native:
            fuse(extractor)
        settings = recipe.settings_as(DistributionMatching)
        features = feature_function(extractor, recipe.precision)
        how: dict[str, Any] = {"chunk": mode.chunk, "processes": processes}
        draw_one = partial(draw, recipe.strategy, 1, real.size)
        self._match = FeatureMatching(real, recipe, draw_one, features, batch_real=settings.batch_real, **how)

    def __call__(self, images_KICHW: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the distances and the gradient of iteration k."""
        parameters, buffers = initial_state(self._network, self._work.generator("network", k), self._work.device)
        return self._match(parameters, buffers, images_KICHW, k)


def _start(work: MethodContext) -> dict[str, Tensor]:
    images_KICHW = initial_images(work.dataset, work.recipe, work.recipe.settings_as(DistributionMatching).init)
    return {"images": images_KICHW, "velocity": torch.zeros_like(images_KICHW)}
