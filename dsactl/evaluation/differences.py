"""Differences of stored sets, or of pools of experts, in dataset, recipe, provenance and accuracies."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsactl.evaluation.shown import training
from dsactl.text.artifacts import labels_of
from dsactl.text.formatting import accuracy, bytes_in_words, duration, in_words, many, to_the_minute
from registry.records import StoredSet

_REPEATED = {
    "recipe: method": "method",
    "recipe: dataset": "data set: name",
    "recipe: checksum": "data set: checksum",
    "recipe: image_shape": "images",
    "recipe: experts": "made: experts",
}
"""Facts that say again what another one says."""
_TITLES = {"made: seconds": "made: time"}
_LONG_DIGEST = re.compile(r"(@sha256:[0-9a-f]{12})[0-9a-f]{52}")


def differing(facts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the facts that are not the same in all sets, by name, with each set's value; None where it has none.

    Args:
        facts: of each set, see `facts_of`.
    """
    names = sorted(dict.fromkeys(name for each in facts for name in each), key=_group)
    values = {name: [each.get(name) for each in facts] for name in names}
    return {name: found for name, found in values.items() if any(item != found[0] for item in found)}


def facts_of(stored: StoredSet, evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return everything in which two sets can differ, by name.

    Args:
        stored: the set, or a pool of experts.
        evaluations: its records, oldest first; of each way of training the newest counts.
    """
    manifest = stored.manifest
    facts: dict[str, Any] = {
        "kind": stored.kind,
        "digest": stored.digest,
        "method": manifest.method,
        "network": manifest.network,
    }
    facts |= {f"data set: {key}": item for key, item in manifest.dataset.model_dump(mode="json").items()}
    if manifest.pool is None:
        facts["images"] = list(manifest.tensors["images"].shape)
        facts["labels"] = labels_of(stored)
    else:
        facts |= {"networks": manifest.pool.networks, "epochs": manifest.pool.epochs}
    facts |= {f"recipe: {key}": item for key, item in _settings(manifest.recipe)}
    facts |= {f"made: {key}": item for key, item in manifest.provenance.items()}
    facts["file size"] = stored.size
    for record in evaluations:
        epochs = many(record["epochs"], "epoch") if "epochs" in record else None
        parts = (record.get("network", "?"), epochs, training(record) if "augmentation" in record else None)
        how = ", ".join(str(part) for part in parts if part is not None)
        facts[f"accuracy % on {how}"] = f"{accuracy(record)}, n = {record.get('n', '?')}"
    return facts


def in_rows(found: Mapping[str, Sequence[Any]]) -> list[tuple[str, list[str]]]:
    """Return what `differing` has found as text: the name of each fact, and its value in each set.

    What another row says already is left out.
    """
    return [
        (_TITLES.get(name, name.replace("data set", "dataset")), [_value(name, item) for item in items])
        for name, items in found.items()
        if _REPEATED.get(name) not in found
    ]


def _group(name: str) -> int:
    """Return the place of a fact: sets have different ones, but those of a kind stand together."""
    starts = ("recipe: ", "made: ", "file size", "accuracy %")
    return next((place for place, start in enumerate(starts, 1) if name.startswith(start)), 0)


def _settings(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all settings of a recipe, those of its method alone under their own names."""
    for name, value in recipe.items():
        if name == "options" and isinstance(value, dict):
            yield from value.items()
        else:
            yield name, value


def _value(key: str, item: Any) -> str:
    """Format a value of `facts_of`; "–" for None, where a set has no such fact."""
    if item is None:
        return "–"
    if key in ("digest", "data set: checksum", "recipe: checksum") and isinstance(item, str):
        return f"{item[:12]}…"
    if key == "images":
        return "×".join(map(str, item))
    if key == "file size":
        return bytes_in_words(item)
    if key == "made: seconds" and isinstance(item, int | float):
        return duration(item)
    if key == "made: created" and isinstance(item, str):
        return to_the_minute(item)
    return _LONG_DIGEST.sub(r"\1…", in_words(item))
