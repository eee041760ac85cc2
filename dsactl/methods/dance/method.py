"""DANCE: each iteration matches mean features on one network, then lowers the loss of a trained one.

    for k = 0 … iterations − 1:
        (θ_0, θ_T) ~ pool;  λ ~ U(0, 1);  θ ← λ θ_0 + (1 − λ) θ_T
        S ← S − lr · ∇_S Σ_c ‖ mean ψ_θ(A_ω(x_c)) − mean ψ_θ(A_ω(s_c)) ‖²
        S ← S − lr · ∇_S Σ_c mean ℓ(f_θ_T(A_ω(s_c)), c)
        S ← S, its pixels between 0 and 1

"DANCE: Dual-View Distribution Alignment for Dataset Condensation" (Zhang et al., IJCAI 2024, arXiv 2406.01063).

Shapes: K classes, I stored images per class, C, H, W.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from dsactl.augmentation.composed import draw_composed
from dsactl.augmentation.strategy import parse_strategy
from dsactl.augmentation.transforms import draw
from dsactl.engine.mode import Mode
from dsactl.engine.processes import DryRunGroup, Processes
from dsactl.methods.dance.calibration import Calibration
from dsactl.methods.dance.networks import Networks
from dsactl.methods.dance.settings import Dance
from dsactl.methods.distribution_matching.method import check_finite, check_kept, choose_mode
from dsactl.methods.distribution_matching.step import FeatureMatching, feature_function
from dsactl.methods.gradient_matching.condense import initial_images
from dsactl.methods.work import CondensedSet, MethodContext
from dsactl.networks.build import feature_extractor, structure
from dsactl.networks.fused import fuse

_POOL = "pool"


def dance(work: MethodContext) -> CondensedSet:
    """Condense by matching the mean features of each class's images on a pool of experts, with calibration.

    Raises:
        RunError: the images diverged, or the checkpoint is damaged or of another pool.
        ProcessError: another process died.
    """
    recipe, real = work.recipe, work.dataset
    settings = recipe.settings_as(Dance)
    state = work.resume() or _start(work)
    check_kept(work, state)
    _check_pool(work, state)
    work.expect(settings.iterations)

    def choose() -> Mode:
        kinds = parse_strategy(settings.matching_strategy)
        return choose_mode(work, min(recipe.decoded, settings.batch_synthetic), kinds)

    def try_out(mode: Mode) -> None:
        _Steps(work, mode, DryRunGroup(work.processes))(state["images"], state["velocity"], 0)

    steps = _Steps(work, work.settle_mode(choose, try_out), work.processes)
    images_KICHW, velocity_KICHW = state["images"], state["velocity"]
    for k in range(work.done, settings.iterations):
        images_KICHW, velocity_KICHW, losses = steps(images_KICHW, velocity_KICHW, k)
        figures: dict[str, float] = {}
        if work.wants_figures or k + 1 == settings.iterations:
            figures = {name: loss_K.sum().item() for name, loss_K in losses.items()}
            check_finite(work, images_KICHW, k)
        kept = {**state, "images": images_KICHW, "velocity": velocity_KICHW}
        work.keep(k + 1, settings.iterations, kept, figures=figures, doing="matching features", copy=False)
    about = {} if work.experts is None else {"experts": work.experts.exact_reference}
    return CondensedSet(images_KICHW.flatten(0, 1), real.labels(recipe.ipc), provenance=about)


class _Steps:
    """The two steps of each iteration."""

    def __init__(self, work: MethodContext, mode: Mode, processes: Processes) -> None:
        recipe, real, settings = work.recipe, work.dataset, work.recipe.settings_as(Dance)
        assert recipe.network is not None
        extractor = feature_extractor(structure(recipe.network, real.channels, real.size, real.classes)).train()
        classifier = structure(recipe.network, real.channels, real.size, real.classes).eval()
        if mode.native:
            fuse(extractor)
            fuse(classifier)
        how: dict[str, Any] = {"chunk": mode.chunk, "processes": processes}
        how["batch_synthetic"] = settings.batch_synthetic
        kinds = parse_strategy(settings.matching_strategy)
        one = partial(draw_composed if settings.combination == "composed" else draw, kinds, 1, real.size)
        features = feature_function(extractor, recipe.precision)
        self._networks = Networks(work)
        self._match = FeatureMatching(real, recipe, one, features, batch_real=settings.batch_real, **how)
        self._calibrate = None
        if settings.calibration:
            self._calibrate = Calibration(recipe, classifier, one, weight=settings.calibration, **how)
        std_C11 = torch.tensor(real.std, device=work.device).view(-1, 1, 1)
        self._rate_C11, self._momentum = settings.image_lr / std_C11.square(), settings.image_momentum
        self._bounds = _pixel_bounds(work)

    def __call__(
        self, images_KICHW: Tensor, velocity_KICHW: Tensor, k: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Take the steps of iteration k; return images, velocity, and the losses of all classes by name."""
        matched, trained = self._networks(k)
        losses = {}
        losses["loss"], gradient_KICHW = self._match(*matched, images_KICHW, k)
        images_KICHW, velocity_KICHW = self._descend(images_KICHW, velocity_KICHW, gradient_KICHW)
        if self._calibrate is not None and trained is not None:
            losses["calibration"], gradient_KICHW = self._calibrate(*trained, images_KICHW, k)
            images_KICHW, velocity_KICHW = self._descend(images_KICHW, velocity_KICHW, gradient_KICHW)
        if self._bounds is not None:
            images_KICHW = images_KICHW.clamp(*self._bounds)
        return images_KICHW, velocity_KICHW, losses

    def _descend(self, images: Tensor, velocity: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        velocity = self._momentum * velocity + gradient
        return images - self._rate_C11 * velocity, velocity


def _pixel_bounds(work: MethodContext) -> tuple[Tensor, Tensor] | None:
    """Return normalised black and white, each C×1×1; None if the images are not clamped."""
    if work.recipe.settings_as(Dance).clamp == "off":
        return None
    mean_C11, std_C11 = (
        torch.tensor(each, device=work.device).view(-1, 1, 1) for each in (work.dataset.mean, work.dataset.std)
    )
    return (0 - mean_C11) / std_C11, (1 - mean_C11) / std_C11


def _start(work: MethodContext) -> dict[str, Tensor]:
    images_KICHW = initial_images(work.dataset, work.recipe, work.recipe.settings_as(Dance).init)
    if (bounds := _pixel_bounds(work)) is not None:
        images_KICHW = images_KICHW.clamp(*bounds)
    state = {"images": images_KICHW, "velocity": torch.zeros_like(images_KICHW)}
    return state | ({} if work.experts is None else {_POOL: _digest_of(work)})


def _check_pool(work: MethodContext, state: dict[str, Tensor]) -> None:
    """Refuse to resume with another pool: the set would be a mixture that nobody can make again."""
    if work.experts is None:
        return
    if _POOL not in state or not torch.equal(state[_POOL], _digest_of(work)):
        work.refuse_checkpoint(f"was written with another pool of experts than {work.experts.reference}")


def _digest_of(work: MethodContext) -> Tensor:
    assert work.experts is not None
    return torch.tensor(list(bytes.fromhex(work.experts.digest)), dtype=torch.uint8, device=work.device)
