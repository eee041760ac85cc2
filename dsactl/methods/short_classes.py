"""Classes with fewer training images than `ipc`: their images once, or again in turn."""

import torch
from torch import Tensor

from dsactl.recipes.recipe import Recipe


def fill(chosen_N: Tensor, recipe: Recipe) -> Tensor:
    """Return `ipc` of the images chosen from a class.

    Args:
        chosen_N: indices, in the order of choice.
        recipe: of the run. With `short_classes="repeat"` fewer than `ipc` images are repeated in turn, so that each is
            taken equally often, or once more; otherwise they are all that there is.
    """
    if recipe.short_classes != "repeat":
        return chosen_N[: recipe.ipc]
    return chosen_N[torch.arange(recipe.ipc) % len(chosen_N)]
