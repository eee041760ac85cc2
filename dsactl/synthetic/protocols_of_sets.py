"""The evaluation protocol of a set. Importing this imports no torch."""

from dsactl.data.views import base_name
from dsactl.recipes.recipe import Recipe
from dsactl.training.protocols import NamedProtocol, find_protocol


def protocol_for(recipe: Recipe, name: str | None = None) -> NamedProtocol:
    """Return a published protocol as it is for a set.

    Args:
        recipe: of the set.
        name: of the protocol; None for the one that the set was made for.

    Raises:
        UnknownNameError: there is none of this name; that of a set may come from the method of another package.
    """
    named = find_protocol(name or recipe.protocol)
    return named.for_sets(base_name(recipe.dataset), recipe.ipc, recipe.formation)
