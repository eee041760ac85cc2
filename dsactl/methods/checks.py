"""What the methods refuse in a recipe. Importing this imports no torch."""

from dsactl.errors import UsageError
from dsactl.recipes.recipe import Recipe


def check_dd(recipe: Recipe) -> None:
    """Refuse options that make no sense.

    Raises:
        UsageError: says which, and what to give instead.
    """
    _refuse_batch_norm(recipe)
    options = recipe.options
    if options["weights"] not in ("random", "fixed"):
        raise UsageError(f"--option weights={options['weights']} is neither random nor fixed.")
    if int(options["networks"]) < 1:
        raise UsageError(f"--option networks={options['networks']} is not at least 1.")
    if float(options["step_lr"]) <= 0:
        raise UsageError(f"--option step_lr={options['step_lr']} is not above 0.")
    if recipe.inner_steps < parts_of(recipe):
        raise UsageError(
            f"{recipe.inner_steps} inner steps of {recipe.batch_synthetic} images per class do not reach all "
            f"{recipe.ipc}.",
            f"Use --inner-steps {parts_of(recipe)} or a larger --batch-synthetic.",
        )


def parts_of(recipe: Recipe) -> int:
    """Count the inner steps that reach all of a class's synthetic images once."""
    return -(-recipe.ipc // recipe.batch_synthetic)


def check_ld(recipe: Recipe) -> None:
    """Refuse options that make no sense.

    Raises:
        UsageError: says which.
    """
    _refuse_batch_norm(recipe)
    options = recipe.options
    if not 0 < float(options["smoothing"]) < 1:
        raise UsageError(f"--option smoothing={options['smoothing']} is not between 0 and 1.")
    for name in ("label_lr", "patience"):
        if float(options[name]) <= 0:
            raise UsageError(f"--option {name}={options[name]} is not above 0.")


def check_epochs(recipe: Recipe) -> None:
    """Refuse a training without an epoch.

    Raises:
        UsageError: it is that.
    """
    if int(recipe.options["epochs"]) < 1:
        raise UsageError(f"--option epochs={recipe.options['epochs']} must be at least 1.")


def _refuse_batch_norm(recipe: Recipe) -> None:
    """Refuse networks whose statistics would have to be unrolled as well.

    Raises:
        UsageError: names the same network with instance norm.
    """
    if recipe.network is not None and recipe.network.has_batch_norm:
        twin = recipe.network.instance_twin
        instead = f"--arch {twin.arch}" if twin.arch != "convnet" else "--norm instance"
        raise UsageError(
            f"--method {recipe.method} does not take networks with batch norm, as {recipe.network_label} is.",
            f"Use the same with instance norm: {instead}.",
        )
