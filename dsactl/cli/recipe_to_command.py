"""Conversion of a recipe to the command that makes its set or pool of experts."""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dsactl.data.catalogue import entry_of, keeps_mirrored
from dsactl.data.paths import folder_options
from dsactl.errors import DataError, UsageError
from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes import methods as methods
from dsactl.recipes.recipe import Recipe, Relabelled

if TYPE_CHECKING:
    from dsactl.runs.listing import Run
    from registry import Manifest

_FOLDER = {"image_size": None, "test_fraction": None, "split_seed": 0}
_VARIANTS = ("depth", "width", "norm", "activation", "pooling")


def set_command(manifest: "Manifest") -> str | None:
    """Return the command that made a set or a pool of experts, or None if it was not made by a command.

    Of a relabelled set they are two, each on a line, with comments on what must be there first.
    """
    if manifest.pool is not None:
        return _experts_command(manifest)
    if "imported from" in manifest.provenance:
        return None
    try:
        recipe = Recipe.from_dict(manifest.recipe)
    except DataError:
        return None
    if recipe.labels is not None:
        return _relabel_commands(manifest, recipe, recipe.labels)
    return _method_command(manifest, recipe)


def continue_command(run: "Run") -> str | None:
    """Return the command that goes on with a run where it stopped; None if there is none."""
    recipe = run.recipe
    if isinstance(recipe, PoolRecipe):
        command, usual_name = _pool_command(recipe, folder_options(run.source)), recipe.pool_name
    elif _is_known(recipe):
        folder = {} if entry_of(recipe.dataset) else folder_options(run.source)
        # The classes of a folder are not read for this; with `mirrored` so, the strategy is written out.
        mirrored = None if entry_of(recipe.dataset) else "flip" not in recipe.strategy
        where = run.source.get("name")
        command = condense_command(recipe, folder, mirrored, where if isinstance(where, str) else None)
        usual_name = recipe.set_name
    else:
        return None
    if run.name != usual_name:
        command += f" --name {shlex.quote(run.name)}"
    if run.mode.get("device") in ("cpu", "cuda", "mps"):
        command += f" --device {run.mode['device']}"
    processes = run.mode.get("processes")
    if isinstance(processes, int) and processes > 1:
        command = f"torchrun --nproc-per-node {processes} -m {command}"
    return command


def _is_known(recipe: Recipe) -> bool:
    """Return whether the method of a recipe is known here, and uses a network if the recipe has one."""
    try:
        return (recipe.network is not None) == methods.find(recipe.method).network
    except UsageError:  # an unknown method, or its package is broken
        return False


def _method_command(manifest: "Manifest", recipe: Recipe) -> str | None:
    """Return the `dsactl condense` command of a recipe with hard labels; None if there is none."""
    if not _is_known(recipe):
        return None
    mirrored = None if entry_of(recipe.dataset) else keeps_mirrored(manifest.dataset.class_names)
    return condense_command(recipe, folder_options(manifest.provenance), mirrored)


def condense_command(
    recipe: Recipe, folder: Mapping[str, Any], mirrored: bool | None = None, where: str | None = None
) -> str:
    """Return the shortest `dsactl condense` command that resolves to a recipe on any device.

    Args:
        recipe: recipe of the set.
        folder: options with which an image folder was read.
        mirrored: see `Recipe.usual`.
        where: the dataset as the command names it; None for its name, and FOLDER/NAME for an image folder.
    """
    entry, network, usual = entry_of(recipe.dataset), recipe.network, recipe.usual(mirrored)
    given: dict[str, Any] = {"ipc": recipe.ipc}
    if recipe.method != "dsa":
        given["method"] = recipe.method
    if network and usual.network:
        if network.arch != "convnet":
            given["arch"] = network.arch
        given |= _differing(network, usual.network, _VARIANTS)
        given["precision"] = recipe.precision
    given |= _differing(recipe, usual, ("seed", "short_classes"))
    own, defaults = recipe.settings.values(), usual.settings.values()
    differing = {name: value for name, value in own.items() if defaults.get(name) != value}
    if differing.keys() & {"inner_steps", "network_epochs"}:  # the default of one depends on the other
        differing |= {name: own[name] for name in ("inner_steps", "network_epochs") if name in own}
    if differing.get("experts"):  # the pool says the other settings of experts
        differing = {name: value for name, value in differing.items() if not name.startswith("expert_")}
    flagless: Collection[str] = () if recipe.method in methods.BUILT_IN else recipe.options.keys()
    given |= {name: value for name, value in differing.items() if name not in flagless}
    if recipe.formation != 1:
        given["formation"] = recipe.formation
    if recipe.strategy != usual.strategy:
        given["strategy"] = recipe.strategy
    given |= {name: value for name, value in folder.items() if value != _FOLDER[name]}
    words = ["dsactl", "condense", where or (recipe.dataset if entry else f"FOLDER/{recipe.dataset}")]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    for name, value in differing.items():
        if name in flagless:
            words += ["--option", f"{name}={value}"]
    return shlex.join(words)


def _relabel_commands(manifest: "Manifest", recipe: Recipe, labels: Relabelled) -> str | None:
    """Return the commands of a relabelled set: `dsactl condense` for its source, and `dsactl relabel`.

    A source that no command makes, and the pool, are named by their digests, with a comment that they must be pulled;
    None if such a source's digest is not known.
    """
    own = replace(recipe, labels=None)
    made = None if "source imported from" in manifest.provenance else _method_command(manifest, own)
    source, digest = own.set_name, manifest.provenance.get("source digest")
    pool = _in_comment(manifest.provenance.get("teacher"))
    if made is None:
        if not isinstance(digest, str):
            return None
        source = f"@sha256:{digest}"
        made = f"# Pull or import the set{_in_comment(manifest.provenance.get('source'))} first."
    given = {
        "experts": f"@sha256:{labels.pool}",
        "teacher": labels.teacher,
        "epoch": labels.epoch,
        "temperature": labels.temperature,
    }
    words = (word for name, value in given.items() for word in (f"--{name}", str(value)))
    command = shlex.join(["dsactl", "relabel", source, *words])
    return f"{made}\n# Pull or import the pool of experts{pool} first.\n{command}"


def _in_comment(reference: object) -> str:
    """Return what provenance calls a set or pool, on one line after a space; empty if it does not say."""
    return f" {' '.join(reference.split())}" if isinstance(reference, str) else ""


def _experts_command(manifest: "Manifest") -> str | None:
    """Return the shortest `dsactl experts` command that resolves to a pool's recipe; None if it is not known here."""
    try:
        recipe = PoolRecipe.from_dict(manifest.recipe)
    except (DataError, UsageError):
        return None
    return _pool_command(recipe, folder_options(manifest.provenance))


def _pool_command(recipe: PoolRecipe, folder: Mapping[str, Any]) -> str:
    """Return the shortest `dsactl experts` command that resolves to a recipe.

    Args:
        recipe: of the pool.
        folder: options with which an image folder was read.
    """
    usual = PoolRequest(network=NetworkSpec(recipe.network.arch), epochs=recipe.epochs, precision=recipe.precision)
    usual_recipe = usual.resolve(recipe.dataset, recipe.checksum, recipe.image_shape, recipe.precision)
    given: dict[str, Any] = {} if recipe.network.arch == "convnet" else {"arch": recipe.network.arch}
    given |= _differing(recipe.network, usual_recipe.network, _VARIANTS)
    given |= _differing(recipe, PoolRequest(), ("epochs",))
    given |= _differing(recipe, usual_recipe, ("networks", "batch", "lr", "momentum", "weight_decay", "cutmix", "seed"))
    if recipe.keep != usual_recipe.keep:
        given["keep"] = ",".join(map(str, recipe.keep))
    if recipe.augmentations != usual_recipe.augmentations:
        given["strategy"] = recipe.augmentations
    given["precision"] = recipe.precision
    given |= {name: value for name, value in folder.items() if value != _FOLDER[name]}
    entry = entry_of(recipe.dataset)
    words = ["dsactl", "experts", recipe.dataset if entry else f"FOLDER/{recipe.dataset}"]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _differing(own: object, usual: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes that differ from the defaults."""
    return {name: getattr(own, name) for name in names if getattr(own, name) != getattr(usual, name)}
