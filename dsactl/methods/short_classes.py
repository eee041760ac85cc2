"""Classes with fewer training images than are wanted: their images once, or again in turn."""

import torch
from torch import Tensor

from dsactl.recipes.recipe import Recipe


def fill(chosen_N: Tensor, recipe: Recipe) -> Tensor:
    """Return as many of the images chosen from a class as a set has to train on: `Recipe.decoded`.

    Args:
        chosen_N: indices, in the order of choice.
        recipe: of the run. With `short_classes="repeat"` fewer images are repeated in turn, so that each is taken
            equally often, or once more; otherwise they are all that there is.
    """
    if recipe.short_classes != "repeat":
        return chosen_N[: recipe.decoded]
    return chosen_N[torch.arange(recipe.decoded) % len(chosen_N)]
