"""The check that a network has no batch norm, for methods that cannot use it. Importing this loads no torch."""

from dsactl.errors import UsageError
from dsactl.recipes.settings import Checked


def refuse_batch_norm(recipe: Checked) -> None:
    """Refuse a network with batch norm.

    Where training is unrolled, its statistics would have to be as well. Where features are matched, those of an image
    would depend on its batch: real and synthetic images pass in others, and equal images would not have equal features.

    Raises:
        UsageError: it has batch norm; the hint names the same network with instance norm.
    """
    if recipe.network is not None and recipe.network.has_batch_norm:
        twin = recipe.network.instance_twin
        instead = f'`arch="{twin.arch}"`' if twin.arch != "convnet" else '`norm="instance"`'
        raise UsageError(
            f"Method {recipe.method!r} does not take networks with batch norm, such as {recipe.network_label}.",
            f"Use the same with instance norm: {instead}.",
        )
