"""Storing a set: tensors, manifest and preview, from a method's result and its dataset.

Shapes: N images, sorted by class, C, H, W.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import registry
from dsactl import __version__
from dsactl.data.dataset import Dataset
from dsactl.methods.work import CondensedSet
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.preview import preview
from registry.tensors import describe


def program_and_time() -> dict[str, registry.JsonValue]:
    """Return the provenance of a set that is made now: this program, and the time."""
    return {"program": f"dsactl {__version__}", "created": datetime.now(UTC).isoformat(timespec="seconds")}


def store_set(
    store: registry.Store,
    name: registry.SetName,
    dataset: Dataset,
    recipe: Recipe,
    made: CondensedSet,
    provenance: Mapping[str, registry.JsonValue],
) -> registry.StoredSet:
    """Store a set as the next version of a name; identical content returns the existing version.

    Args:
        store: the target store.
        name: name of the set.
        dataset: the condensed dataset.
        recipe: the set's recipe.
        made: images, labels and soft labels.
        provenance: facts that do not change the content; program and time are added.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    stored = {"images": made.images_NCHW.detach().float().cpu(), "labels": made.labels_N.cpu()}
    if made.soft_labels_NK is not None:
        stored["soft_labels"] = made.soft_labels_NK.detach().float().cpu()
    tensors = {name: tensor.numpy() for name, tensor in stored.items()}
    manifest = registry.Manifest(
        schema_version=registry.schema_of(registry.SET, recipe.to_dict()),
        dataset=registry.DatasetInfo(
            name=dataset.name,
            split="train",
            checksum=recipe.checksum,
            class_names=list(dataset.class_names),
            mean=list(dataset.mean),
            std=list(dataset.std),
            counts=list(dataset.train.counts),
        ),
        method=recipe.method,
        recipe=recipe.to_dict(),
        network=recipe.network_label,
        seed=recipe.seed,
        tensors=describe(tensors),
        provenance={**program_and_time(), **provenance},
    )
    picture = preview(stored["images"], stored["labels"], recipe.formation, dataset.mean, dataset.std)
    return store.put(name, tensors, manifest, picture)
