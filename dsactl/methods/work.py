"""What a method is given, and what it gives.

Shapes: N images sorted by class, C, H, W, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor

from dsactl.data.dataset import Dataset
from dsactl.engine.mode import Mode
from dsactl.engine.native import library
from dsactl.engine.processes import ALONE, Processes
from dsactl.engine.random import generator
from dsactl.errors import RunError
from dsactl.recipes.recipe import Recipe


class Work:
    """One set to be made, without a checkpoint: `dsactl.runs.runner` has the one that resumes.

    Attributes:
        dataset: the dataset, on the device to compute on. Only its training images are for a method.
        recipe: resolved.
        mode: how to compute. A method that has several ways chooses one by `settle_mode`.
        processes: that share the classes, of a method that is registered so; else this one.
        done: steps done when the tensors of `resume` were kept; 0 at the beginning.
        may_compile: whether the work is long enough to look into compiling at all; False in trials of a few steps.
    """

    may_compile = True
    done = 0

    def __init__(self, dataset: Dataset, recipe: Recipe, processes: Processes = ALONE) -> None:
        self.dataset, self.recipe, self.processes = dataset, recipe, processes
        self.mode = Mode(self.device.type, native=self.device.type == "cpu" and library() is not None)

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.dataset.train.images_NCHW.device

    @property
    def wants_figures(self) -> bool:
        """Whether figures of this step would be recorded: about once a second, since a GPU has to be waited for."""
        return False

    def generator(self, purpose: str, *position: int) -> Generator:
        """Make a CPU generator from the recipe's seed for one purpose and position; every draw comes from one."""
        return generator(self.recipe.seed, purpose, *position)

    def option(self, name: str) -> Any:
        """Return one of the method's own options."""
        return self.recipe.settings.option(name)

    def settle_mode(self, choose: Callable[[], Mode], try_out: Callable[[Mode], object]) -> Mode:  # noqa: ARG002
        """Settle how to compute, once, before the first step; an interrupted run keeps the mode it was begun in.

        Args:
            choose: gives the mode of a new run.
            try_out: takes one step in a mode, without effect, and raises what goes wrong. Where compiling or capturing
                fails, the run does without.
        """
        self.mode = choose()
        return self.mode

    def resume(self) -> dict[str, Tensor]:
        """Return copies of the tensors that were kept last, on the device; empty at the beginning."""
        return {}

    def keep(
        self,
        done: int,
        total: int,
        tensors: Mapping[str, Tensor],
        *,
        loss: float | None = None,
        figures: Mapping[str, float] | None = None,
        doing: str = "",
        copy: bool = True,
    ) -> None:
        """Report progress, with what is needed to resume from here.

        Args:
            done, total: steps.
            tensors: with which `resume` lets the method continue to the same bits.
            loss: of the last step, where it is known.
            figures: other figures of the last step, by name.
            doing: what comes next, in a few words.
            copy: whether the tensors are copied. They need not be where the method never changes them in place.
        """

    def expect(self, total: int) -> None:
        """Say how many steps there will be in all, before the first is done."""

    def report(self, doing: str) -> None:
        """Report what is done now, in a few words, between two steps."""

    def refuse_checkpoint(self, reason: str) -> NoReturn:
        """Refuse to resume from what was kept.

        Args:
            reason: what is wrong with it, after "The checkpoint".

        Raises:
            RunError: always.
        """
        raise RunError(f"The checkpoint {reason}.", "Start over with `fresh=True`.")


@dataclass(frozen=True)
class Made:
    """A set.

    Attributes:
        images_NCHW: float32, in normalised space, sorted by class.
        labels_N: int64, ascending.
        soft_labels_NK: float32, each row a distribution over the classes; None where an image has its class alone.
        provenance: what should be known about how it was made, and does not change the content.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    soft_labels_NK: Tensor | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def try_smaller(recipe: Recipe, setting: str) -> str:
    """Say what to do where the numbers of a run diverged.

    Args:
        recipe: of the run.
        setting: the step size, by its name in the recipe.
    """
    advice = f"Try a smaller `{setting}` than {getattr(recipe.settings, setting):g}"
    if recipe.precision == "float32":
        return f"{advice}."
    # An unfinished run in one precision is begun in another only if that is asked for.
    return f'{advice}, or `precision="float32"` with `fresh=True`.'
