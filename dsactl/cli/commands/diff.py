"""The command `dsactl diff`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import labels_of
from dsactl.text.formatting import accuracy, augmentation, bytes_in_words, in_words, many
from dsactl.text.tables import Table

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl diff mnist-dsa-convnet-ipc1:1 mnist-dsa-convnet-ipc1:2
  dsactl diff cifar10-dsa-convnet-ipc1 cifar10-random-ipc1 --json"""


def command(
    a: options.Reference,
    b: Annotated[
        str,
        typer.Argument(metavar="REF", help="Set to compare with.", autocompletion=options.complete_reference),
    ],
    *,
    output: Output,
) -> None:
    """Show the differences of two sets, or two pools of experts, in dataset, recipe, provenance and accuracies."""
    import registry
    from dsactl.synthetic import bundled

    store = registry.Store()
    sets = [bundled.find(text, store)[1] for text in (a, b)]
    ours, theirs = (_facts(each, bundled.evaluations(each, store)) for each in sets)
    differing = {
        key: [ours.get(key), theirs.get(key)] for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)
    }
    same = sets[0].digest == sets[1].digest
    value = {"a": sets[0].reference, "b": sets[1].reference, "same_content": same, "differing": differing}
    shown = Table(("", *(each.reference for each in sets)))
    shown.rows = [
        (key.replace("data set", "dataset"), *("–" if item is None else _words(key, item) for item in pair))
        for key, pair in differing.items()
    ]
    verdict = f"{sets[0].reference} and {sets[1].reference} have {'the same' if same else 'different'} content"
    output.answer(value, list(differing), [*([shown] if differing else []), escape(verdict)])


def _facts(stored: "registry.StoredSet", evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return everything in which two sets can differ, by name."""
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
    facts |= {f"recipe: {key}": item for key, item in manifest.recipe.items()}
    facts |= {f"made: {key}": item for key, item in manifest.provenance.items()}
    facts["file size"] = stored.size
    for record in evaluations:  # keeps the newest of each protocol
        epochs = many(record["epochs"], "epoch") if "epochs" in record else None
        parts = (record.get("network", "?"), epochs, augmentation(record) if "augmentation" in record else None)
        how = ", ".join(str(part) for part in parts if part is not None)
        facts[f"accuracy % on {how}"] = f"{accuracy(record)}, n = {record.get('n', '?')}"
    return facts


def _words(key: str, item: Any) -> str:
    if key in ("digest", "data set: checksum", "recipe: checksum"):
        return f"{item[:12]}…"
    if key == "images":
        return "×".join(map(str, item))
    if key == "file size":
        return bytes_in_words(item)
    return in_words(item)
