"""The checks of a request that need neither its dataset nor torch."""

import registry
from dsactl.data.catalogue import is_mirrored
from dsactl.data.load import check_name
from dsactl.errors import UsageError
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request
from dsactl.synthetic.bundled import check_own_name

_ANY_SHAPE = (3, 32, 32)
"""Stands for the shape of the images, which is not known yet; these checks do not depend on it."""


def check_request(request: Request) -> None:
    """Refuse unknown names, and settings that the method cannot have.

    `job.prepare` checks what depends on the images or the machine.

    Args:
        request: parsed.

    Raises:
        DsactlError: the dataset's name, its options, or the method's settings are not valid.
        registry.BadNameError: the set's name is not valid.
    """
    if request.name is not None:
        check_own_name(registry.parse_name(request.name))
    check_name(
        request.dataset,
        image_size=request.image_size,
        test_fraction=request.test_fraction,
        split_seed=request.split_seed,
    )
    if request.short_classes == "all" and not find(request.method).takes_fewer:
        raise UsageError(
            f'Method {request.method!r} makes `ipc` images of every class; `short_classes="all"` is for methods that '
            "choose real images.",
            'Use `short_classes="repeat"`.',
        )
    if request.short_classes == "all" and request.formation > 1:
        raise UsageError(
            '`short_classes="all"` does not go with `formation`, which joins images to stored ones of full size.',
            'Use `short_classes="repeat"`, or leave `formation` out.',
        )
    mirrored = is_mirrored(request.dataset)
    recipe = request.resolve(request.dataset, "", _ANY_SHAPE, mirrored=mirrored, precision="float32")
    recipe.settings.check(recipe)
