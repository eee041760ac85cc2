"""The evaluation protocol of a set. Importing this imports no torch."""

from dataclasses import replace

from dsactl.data.views import base_name
from dsactl.recipes.recipe import Recipe
from dsactl.training.protocols import IDC, NamedProtocol, find_protocol


def protocol_for(recipe: Recipe, name: str | None = None) -> NamedProtocol:
    """Return a published protocol as it is for a set: IDC's authors leave CutMix out for two kinds of theirs.

    Args:
        recipe: of the set.
        name: of the protocol; None for the one that the set was made for.

    Raises:
        UnknownNameError: there is none of this name; that of a set may come from the method of another package.
    """
    named, dataset = find_protocol(name or recipe.protocol), base_name(recipe.dataset)
    if named == IDC and dataset == "mnist" and recipe.formation > 1:
        return replace(named, cutmix=0.0)
    if named == IDC and dataset == "svhn" and recipe.ipc == recipe.formation == 1:
        return replace(named, cutmix=0.0, without=())
    return named
