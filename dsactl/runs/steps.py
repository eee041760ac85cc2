"""The steps that a checkpoint has. Importing this loads no torch."""

from collections.abc import Mapping
from typing import Any

from dsactl.recipes.recipe import Recipe


def steps_of(about: Mapping[str, Any], recipe: Recipe) -> int:
    """Return the number of steps that a checkpoint has.

    Args:
        about: the checkpoint's description; that of dsactl 0.1 has iteration and inner step of Algorithm 1.
        recipe: of the run.

    Raises:
        KeyError, TypeError, ValueError: the description is damaged.
    """
    if "done" in about:
        return int(about["done"])
    return int(about["iteration"]) * int(recipe.settings.option("inner_steps")) + int(about["step"])
