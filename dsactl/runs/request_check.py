"""What can be refused in a request before a data set is loaded, and torch with it."""

import registry
from dsactl.data.catalogue import is_mirrored
from dsactl.data.load import check_name
from dsactl.recipes.recipe import Request
from dsactl.synthetic.bundled import check_own_name

_ANY_SHAPE = (3, 32, 32)
"""In place of the images', which are not known yet; what is refused here does not depend on it."""


def check_request(request: Request) -> None:
    """Refuse names that there are not, and settings that the method cannot have.

    What depends on the images or the machine is refused later, by `job.prepare`.

    Args:
        request: that has been parsed.

    Raises:
        DsactlError: of the data set's name, its options, or the method's settings.
        registry.BadNameError: of the set's name.
    """
    if request.name is not None:
        check_own_name(registry.parse_name(request.name))
    check_name(
        request.dataset,
        image_size=request.image_size,
        test_fraction=request.test_fraction,
        split_seed=request.split_seed,
    )
    mirrored = is_mirrored(request.dataset)
    recipe = request.resolve(request.dataset, "", _ANY_SHAPE, mirrored=mirrored, precision="float32")
    recipe.settings.check(recipe)
