"""The images and labels to train on, from those that are stored."""

from collections.abc import Mapping

from torch import Tensor

from dsactl.parametrisation.formation import check_formation, parametrisation
from dsactl.recipes.recipe import Recipe


def decoded(tensors: Mapping[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Decode a set's tensors.

    Args:
        tensors: `images` N×C×H×W, `labels` N, perhaps `soft_labels` N×K.
        recipe: of the set, with formation F.

    Returns:
        The same with F²·N images; for formation 1 the tensors themselves.

    Raises:
        UsageError: the formation does not divide the images.
    """
    height, width = tensors["images"].shape[2:]
    check_formation(recipe.formation, (height, width))
    stored = parametrisation(recipe.formation)
    return {
        name: stored.decode(tensor) if name == "images" else stored.decode_labels(tensor)
        for name, tensor in tensors.items()
    }
