"""The page of the whole registry: a table of sets and one of pools of experts. Importing this loads no torch."""

from dataclasses import dataclass

import registry
from dsactl.engine.progress import Progress
from dsactl.evaluation.shown import accuracy_in_words, mean_accuracy
from dsactl.pages.images import Picture, thumbnail
from dsactl.pages.rendering import render
from dsactl.synthetic.bundled import NAMESPACE, bundled, entries
from registry.cost import Cost


@dataclass(frozen=True)
class SetRow:
    """A set in the table.

    Attributes:
        entry: its summary.
        ipc: images per class, as text.
        accuracy, n, tested_on: of the evaluation that is shown.
        mean: the accuracy as a number, -1 without one, to sort by.
        bytes: of images and soft labels.
        picture: thumbnail; None where it cannot be drawn.
    """

    entry: registry.Entry
    ipc: str
    accuracy: str
    n: str
    tested_on: str
    mean: float
    bytes: int
    picture: Picture | None


def registry_page(store: registry.Store, progress: Progress) -> tuple[bytes, list[str], list[registry.RegistryError]]:
    """Return the page, the references of all versions in it, and the errors of those that cannot be read.

    Args:
        store: the user's; the bundled sets are in the page as well.
        progress: counts sets.
    """
    own, faults = store.entries()
    bundled_sets, more = entries(store)
    sets = [entry for entry in (*own, *bundled_sets) if entry.kind == registry.SET]
    rows, damaged = list[SetRow](), [*faults, *more]
    for done, entry in enumerate(sets):
        progress.update(done, len(sets), "drawing thumbnails")
        try:
            rows.append(_row(entry, store))
        except registry.NotFoundError:
            continue  # removed meanwhile
        except registry.RegistryError as error:
            damaged.append(error)
    pools = [entry for entry in own if entry.kind == registry.EXPERTS]
    shown = [*(row.entry.reference for row in rows), *(entry.reference for entry in pools)]
    content = render("registry.html", script="registry.js", rows=rows, pools=pools, faults=damaged)
    return content, shown, damaged


def _row(entry: registry.Entry, store: registry.Store) -> SetRow:
    """Return the row of a set, whose file is read and verified.

    Raises:
        registry.RegistryError: it is damaged, or was removed.
    """
    reader, name = (
        (bundled(), registry.SetName("", entry.name.name)) if entry.name.namespace == NAMESPACE else (store, entry.name)
    )
    stored = reader.read(name, entry.version)
    tensors, info = reader.tensors(stored), stored.manifest.dataset
    per_class = entry.shape[0] / entry.classes if entry.classes else 0
    cost = Cost.of_entry(entry)
    accuracy, n, tested_on = accuracy_in_words(entry)
    return SetRow(
        entry,
        f"{per_class:.3g}",
        accuracy,
        n,
        tested_on,
        mean_accuracy(entry),
        cost.image_bytes + cost.soft_label_bytes,
        thumbnail(tensors["images"], tensors["labels"], info.mean, info.std),
    )
