"""A recipe in words: a sentence, and each setting with what it means."""

import contextlib
from dataclasses import dataclass
from typing import Any

import registry
from dsactl.errors import DataError, UsageError
from dsactl.recipes.methods import IMPORTED, find
from dsactl.recipes.recipe import Recipe
from dsactl.text.formatting import in_words, many

_COMMON = {
    "ipc": "Images per class.",
    "seed": "Random seed.",
    "image_shape": "Channels, height and width of an image.",
    "strategy": "Kinds of augmentation, when networks are trained on the set.",
    "network": "Network that the method used.",
    "precision": "Precision of the numbers while the set was made.",
    "short_classes": "What was done with classes that have too few images.",
    "formation": "Images along each side of a stored image.",
    "labels": "Teacher of the soft labels.",
}
_OF_POOLS = {
    "seed": "Random seed.",
    "image_shape": "Channels, height and width of an image.",
    "strategy": "Kinds of augmentation, with parameters for each image.",
    "network": "Network that is trained.",
    "precision": "Precision of the numbers in training.",
    "networks": "Number of networks.",
    "epochs": "Epochs of training.",
    "keep": "Epochs after which each network is kept; 0 for its initial weights.",
    "batch": "Batch size.",
    "lr": "Learning rate.",
    "momentum": "Momentum of SGD.",
    "weight_decay": "Weight decay of SGD.",
    "cutmix": "Probability of CutMix, for each batch.",
    "decay_at": "Epochs after which the learning rate is divided.",
    "decay_by": "What the learning rate is divided by.",
}
_LEFT_OUT = ("dataset", "checksum", "method", "options")


@dataclass(frozen=True)
class Setting:
    """A setting of a recipe: its name, its value as text, and what it means."""

    name: str
    value: str
    meaning: str


def known_recipe(stored: registry.StoredSet) -> Recipe | None:
    """Return the recipe of a set; None if this version of the program does not know it."""
    with contextlib.suppress(DataError):
        return Recipe.from_dict(stored.manifest.recipe)
    return None


def settings_of(stored: registry.StoredSet) -> list[Setting]:
    """Return the settings of a set's or pool's recipe."""
    recipe: dict[str, Any] = dict(stored.manifest.recipe)
    own = recipe.get("options")
    values = {**recipe, **(own if isinstance(own, dict) else {})}
    meanings = dict(_COMMON if stored.kind == registry.SET else _OF_POOLS)
    with contextlib.suppress(UsageError):  # a method that is not known here
        meanings |= {name: doc.text for name, doc in find(stored.manifest.method).settings.docs().items()}
    return [
        Setting(name.replace("_", " "), _value(name, item), meanings.get(name, "").replace("`", ""))
        for name, item in values.items()
        if name not in _LEFT_OUT
    ]


def _value(name: str, item: Any) -> str:
    if name == "image_shape" and isinstance(item, list):
        return "×".join(map(str, item))
    return in_words(item) or "none"


def sentence(stored: registry.StoredSet) -> str:
    """Return what a set or pool is, and how it was made, as a sentence."""
    manifest, info = stored.manifest, stored.manifest.dataset
    source = f"{many(sum(info.counts), 'training image', ',')} of {info.name}"
    if manifest.pool is not None:
        networks = many(manifest.pool.networks, "network")
        return f"{networks} ({manifest.network}), trained for {many(manifest.pool.epochs[-1], 'epoch')} on {source}."
    count, classes = manifest.tensors["images"].shape[0], len(info.class_names)
    what = f"{many(count, 'image', ',')} of {many(classes, 'class', ',')}"
    if manifest.has_soft_labels:
        what += " with soft labels"
    if manifest.formation > 1:
        what += f", decoded into {manifest.formation**2 * count:,} to train on"
    if manifest.method == IMPORTED:
        return f"{what}, imported; another program made them from {source}."
    with contextlib.suppress(UsageError):
        about = find(manifest.method).description
        network, steps = manifest.network, manifest.recipe.get("iterations")
        how = f"{manifest.method} ({about})" + (f" on {network}" if network else "")
        how += f", {many(steps, 'iteration', ',')}" if isinstance(steps, int) and steps else ""
        return f"{what}, made from {source} by {how}, with seed {manifest.seed}."
    return f"{what}, made from {source} by {manifest.method}."
