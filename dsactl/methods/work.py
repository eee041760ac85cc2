"""The interface of methods: what they are given, and what they return.

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
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.random import generator
from dsactl.errors import RunError
from dsactl.expert_pools.pool import ExpertPool
from dsactl.parametrisation.formation import parametrisation
from dsactl.parametrisation.parametrisation import Parametrisation
from dsactl.recipes.recipe import Recipe


class MethodContext:
    """The context of a method's run, without a checkpoint; `dsactl.runs.runner` has the one that resumes.

    Attributes:
        dataset: the dataset, on the device to compute on. A method may use only its training images.
        recipe: resolved.
        mode: how to compute. A method with several modes chooses one by `settle_mode`.
        processes: that share the classes, if the method is registered so; otherwise this process.
        experts: the pool that the settings name or describe; None for a method without one.
        done: steps done when the tensors of `resume` were kept; 0 at the start.
    """

    done = 0

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        processes: Processes = SINGLE_PROCESS,
        experts: ExpertPool | None = None,
    ) -> None:
        self.dataset, self.recipe, self.processes, self.experts = dataset, recipe, processes, experts
        self.mode = Mode(self.device.type, native=self.device.type == "cpu" and library() is not None)

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.dataset.train.images_NCHW.device

    @property
    def parametrisation(self) -> Parametrisation:
        """How the set's images are stored and decoded."""
        return parametrisation(self.recipe.formation)

    @property
    def wants_figures(self) -> bool:
        """Whether figures of this step would be recorded: about once a second, since reading them waits for a GPU."""
        return False

    def generator(self, purpose: str, *position: int) -> Generator:
        """Make a CPU generator from the recipe's seed for one purpose and position; every draw comes from one."""
        return generator(self.recipe.seed, purpose, *position)

    def option(self, name: str) -> Any:
        """Return one of the method's own options."""
        return self.recipe.settings.option(name)

    def settle_mode(self, choose: Callable[[], Mode], try_out: Callable[[Mode], object]) -> Mode:  # noqa: ARG002
        """Settle how to compute, once, before the first step; an interrupted run keeps the mode it was started in.

        Args:
            choose: returns the mode of a new run.
            try_out: takes one step in a mode, without effect, and raises if that fails. If compiling or capturing
                fails, the run continues without.
        """
        self.mode = choose()
        return self.mode

    def resume(self) -> dict[str, Tensor]:
        """Return copies of the tensors that were kept last, on the device; empty at the start."""
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
        """Report progress, and keep the tensors that are needed to resume from here.

        Args:
            done, total: steps.
            tensors: what `resume` returns, from which the method continues bit-exactly.
            loss: of the last step, if known.
            figures: other figures of the last step, by name.
            doing: short description of the next step.
            copy: whether to copy the tensors; needed unless the method never changes them in place.
        """

    def expect(self, total: int) -> None:
        """Announce the number of steps, before the first is done."""

    def report(self, doing: str) -> None:
        """Report a short description of the current work, between two steps."""

    def refuse_checkpoint(self, reason: str) -> NoReturn:
        """Refuse to resume from the tensors that were kept.

        Args:
            reason: what is wrong with them, as a phrase after "The checkpoint".

        Raises:
            RunError: always.
        """
        raise RunError(f"The checkpoint {reason}.", "Start over with `fresh=True`.")


@dataclass(frozen=True)
class CondensedSet:
    """A condensed set.

    Attributes:
        images_NCHW: float32, in normalised space, sorted by class.
        labels_N: int64, ascending.
        soft_labels_NK: float32, each row a distribution over the classes; None for hard labels only.
        provenance: facts about how it was made that do not change the content.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    soft_labels_NK: Tensor | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


def try_smaller(recipe: Recipe, setting: str) -> str:
    """Return the hint for a run that diverged.

    Args:
        recipe: of the run.
        setting: name of the learning rate in the recipe.
    """
    advice = f"Try a smaller `{setting}` than {getattr(recipe.settings, setting):g}"
    if recipe.precision == "float32":
        return f"{advice}."
    # An unfinished run is restarted in another precision only on request.
    return f'{advice}, or `precision="float32"` with `fresh=True`.'


Work, Made = MethodContext, CondensedSet
"""The names of version 0.1."""
