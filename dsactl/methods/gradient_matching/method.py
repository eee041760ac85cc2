"""Gradient matching as a method: Algorithm 1, resumable after every inner step.

Shapes: K classes, I images per class, C, H, W.
"""

import torch

from dsactl.engine.mode import Mode
from dsactl.engine.processes import DryRunGroup
from dsactl.errors import RunError
from dsactl.methods.gradient_matching.condense import State, condense, initial
from dsactl.methods.gradient_matching.cost import count_work
from dsactl.methods.gradient_matching.inner_step import choose_mode
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.methods.work import CondensedSet, MethodContext, try_smaller
from dsactl.training.sgd import tensors_of

COMPILE_OPERATIONS = 5e12  # of the matching: about a minute on two CPU cores, of which compiling saves two thirds


def gradient_matching(work: MethodContext) -> CondensedSet:
    """Condense by matching gradients (Algorithm 1), with augmentation (DSA), without (DC), or as IDC does.

    Raises:
        RunError: the images diverged, or the checkpoint is damaged.
        ProcessError: another process died.
    """
    dataset, recipe = work.dataset, work.recipe
    start = _resumed(work) or initial(dataset, recipe)
    state = start
    settings = recipe.settings_as(GradientMatching)
    total = settings.iterations * settings.inner_steps

    def choose() -> Mode:
        return choose_mode(dataset, recipe, work.device, long=_worth_compiling(work), processes=work.processes)

    def try_out(mode: Mode) -> None:
        next(condense(dataset, recipe, start, mode=mode, processes=DryRunGroup(work.processes)), None)

    work.expect(total)
    mode = work.settle_mode(choose, try_out)
    for state in condense(dataset, recipe, start, mode=mode, processes=work.processes, phase=work.report):
        done = state.iteration * settings.inner_steps + state.step
        figures = {}
        if work.wants_figures or done == total:
            _check_finite(state, work)
            figures = {"iteration": state.iteration, "distance": state.distance_K.mean().item()}
        work.keep(done, total, _tensors(state), figures=figures, copy=False)
    return CondensedSet(state.images_KICHW.flatten(0, 1), dataset.labels(recipe.ipc))


def _worth_compiling(work: MethodContext) -> bool:
    """Return whether the matching is long enough for compiling to pay off."""
    return count_work(work.recipe, work.dataset).matching_operations >= COMPILE_OPERATIONS


def _check_finite(state: State, work: MethodContext) -> None:
    if not torch.isfinite(state.images_KICHW).all():
        raise RunError(
            f"The images diverged in iteration {state.iteration}: they are no longer finite.",
            try_smaller(work.recipe, "image_lr"),
        )


def _tensors(state: State) -> dict[str, torch.Tensor]:
    """Return the tensors of a state, by name; its position is not among them."""
    tensors = {"images": state.images_KICHW, "velocity": state.velocity_KICHW, "distance": state.distance_K}
    tensors |= {f"network-velocity.{name}": tensor for name, tensor in state.network_velocity.items()}
    tensors |= {f"parameter.{name}": tensor for name, tensor in state.parameters.items()}
    return tensors | {f"buffer.{name}": tensor for name, tensor in state.buffers.items()}


def _resumed(work: MethodContext) -> State | None:
    """Return the state that was kept last; None at the start."""
    tensors, recipe, dataset = work.resume(), work.recipe, work.dataset
    if not tensors:
        return None
    shape = (dataset.classes, recipe.ipc, dataset.channels, *dataset.size)
    try:
        images_KICHW, velocity_KICHW, distance_K = (tensors[name] for name in ("images", "velocity", "distance"))
    except KeyError as error:
        work.refuse_checkpoint(f"has no {error}")
    if images_KICHW.shape != shape:
        work.refuse_checkpoint("has images of another shape")
    iteration, step = divmod(work.done, recipe.settings_as(GradientMatching).inner_steps)
    return State(
        iteration,
        step,
        images_KICHW,
        velocity_KICHW,
        tensors_of(tensors, "parameter"),
        tensors_of(tensors, "buffer"),
        tensors_of(tensors, "network-velocity"),
        distance_K,
    )
