"""What a method is given, and what it gives.

Shapes: N images sorted by class, C, H, W, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from dsactl.data.dataset import Dataset
from dsactl.engine.random import generator
from dsactl.recipes.recipe import Recipe


class Work:
    """One set to be made. This one keeps nothing: `making` has the one that goes on where it was interrupted.

    Attributes:
        dataset: the data set, on the device to compute on. Only its training images are for a method.
        recipe: resolved.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe) -> None:
        self.dataset, self.recipe = dataset, recipe

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.dataset.train.images_NCHW.device

    def generator(self, purpose: str, *position: int) -> Generator:
        """A CPU generator of the recipe's seed, for one purpose and position: every draw comes from one of these."""
        return generator(self.recipe.seed, purpose, *position)

    def option(self, name: str) -> Any:
        """One of the method's own options."""
        return self.recipe.options[name]

    def resume(self) -> dict[str, Tensor]:
        """Copies of the tensors that were kept last, on the device; empty where the work begins."""
        return {}

    def keep(
        self, done: int, total: int, tensors: Mapping[str, Tensor], *, loss: float | None = None, doing: str = ""
    ) -> None:
        """Report progress, with what is needed to go on from here.

        Args:
            done, total: steps.
            tensors: with which `resume` lets the method go on to the same bits. They are copied: what the method does
                in place afterwards does not change what is kept.
            loss: of the last step, where it is known.
            doing: what comes next, in a few words.
        """


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
    """What to do where the numbers of a run diverged.

    Args:
        recipe: of the run.
        setting: the step size, by its name in the recipe.
    """
    advice = f"Try a smaller --{setting.replace('_', '-')} than {getattr(recipe, setting):g}"
    if recipe.precision == "float32":
        return f"{advice}."
    # What stands half done in one precision is begun in another only if that is asked for.
    return f"{advice}, or --precision float32 --fresh."
