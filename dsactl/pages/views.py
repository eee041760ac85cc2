"""Sets and pools of experts as their pages show them.

Shapes: N images, C channels, H, W, K classes.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import registry
from dsactl.pages.curves import Point
from dsactl.pages.images import Bytes, Picture, drawable, levels, sheet, usual_zoom
from dsactl.pages.recipe_words import Setting, known_recipe, sentence, settings_of
from dsactl.pages.run_record import Frame, figures_of, frames_of, run_of
from dsactl.paper import paper_accuracy
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.exporting import pictures_of
from dsactl.text.artifacts import cost_in_words, labels_of
from dsactl.text.formatting import bytes_in_words, duration, in_words, many, mean_and_deviation, to_the_minute
from registry.cost import Cost, fit_in_8_bits
from registry.tensors import Array

Facts = list[tuple[str, str]]
"""Terms and what there is to say of each."""

_ALL_PROBABILITIES, _LARGEST_PROBABILITIES, _LABELS = 12, 5, 20
"""Classes of a whole row of soft labels; those of a row with the largest only; rows."""
_SHADES = 8


@dataclass(frozen=True)
class ClassImages:
    """The images of a class.

    Attributes:
        name: of the class.
        count: number of images.
        picture: all of them.
        note: on neighbours; "" without.
    """

    name: str
    count: int
    picture: Picture
    note: str = ""


@dataclass(frozen=True)
class SoftLabels:
    """Soft labels of the first image of some classes.

    Attributes:
        columns: names of the classes; empty if each row has its largest probabilities only.
        rows: of an image: its class, and pairs of text and shade, 0 … 8.
        left_out: number of images that are not shown.
    """

    columns: list[str]
    rows: list[tuple[str, list[tuple[str, int]]]]
    left_out: int


@dataclass(frozen=True)
class View:
    """A set or a pool of experts.

    Attributes:
        reference, digest, kind: of the artifact.
        sentence: what it is.
        facts: about it.
        settings: of its recipe.
        code: Python that uses it.
        images: by class; empty for a pool, and for images that cannot be drawn.
        stored_images: the same as they are stored, of a set with formation; otherwise empty.
        undrawn: why there are no images; "" if there are.
        zoom: factor by which they are shown at first.
        soft_labels: None for hard labels.
        cost: of a set.
        figures: of its run.
        frames: images on the way.
        losses: training loss of each network of a pool.
        paper: the paper's accuracy for the same recipe, evaluated in its way; "" if it has none.
    """

    reference: str
    digest: str
    kind: str
    sentence: str
    facts: Facts
    settings: list[Setting]
    code: str
    images: list[ClassImages] = field(default_factory=list)
    stored_images: list[ClassImages] = field(default_factory=list)
    undrawn: str = ""
    zoom: int = 1
    soft_labels: SoftLabels | None = None
    cost: Facts = field(default_factory=list)
    figures: dict[str, list[Point]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    paper: str = ""


Neighbours = tuple[Bytes, Array]
"""The pixels of the real images that are nearest to the decoded ones, N×H×W×C, and their distances, N."""


def view_of_pool(stored: registry.StoredSet) -> View:
    """Return the view of a pool of experts; its file is not read."""
    manifest, pool = stored.manifest, stored.manifest.pool
    assert pool is not None
    losses = manifest.provenance.get("training loss")
    facts = [*_common_facts(stored), ("kept after epochs", ", ".join(map(str, pool.epochs)))]
    code = (
        "import dsactl\n\n"
        f'pool = dsactl.load_experts("{stored.reference}")\n'
        f"parameters, buffers = pool.network(0, {pool.epochs[-1]})  # for torch.func.functional_call"
    )
    return View(
        stored.reference,
        stored.digest,
        stored.kind,
        sentence(stored),
        facts,
        settings_of(stored),
        code,
        losses=[str(each) for each in losses] if isinstance(losses, list) else [],
    )


def view_of_set(
    where: registry.Reader, stored: registry.StoredSet, store: registry.Store, neighbours: Neighbours | None
) -> View:
    """Return the view of a set.

    Args:
        where: the store that has it.
        stored: the set.
        store: the user's, which may have its run.
        neighbours: None for a page without.

    Raises:
        registry.RegistryError: the set is damaged.
    """
    manifest, info = stored.manifest, stored.manifest.dataset
    tensors = where.tensors(stored)
    recipe = known_recipe(stored)
    seen = tensors if recipe is None or manifest.formation == 1 else dict(pictures_of(stored)(tensors))
    channels, height, width = seen["images"].shape[1:]
    undrawn = "" if drawable(channels) else f"Images with {many(channels, 'channel')} cannot be drawn."
    run = None if recipe is None else run_of(store, stored, recipe)
    code = (
        "import dsactl\n\n"
        f'condensed = dsactl.load("{stored.reference}")\n'
        "for images, labels in condensed.batches(epochs=1000):  # shuffled, augmented as for its evaluation\n"
        "    ...  # one step of training"
    )
    most = int(np.unique(seen["labels"], return_counts=True)[1].max(initial=1))
    return View(
        stored.reference,
        stored.digest,
        stored.kind,
        sentence(stored),
        [*_common_facts(stored), ("labels", labels_of(stored))],
        settings_of(stored),
        code,
        images=[] if undrawn else _by_class(seen, info, neighbours),
        stored_images=[] if undrawn or seen is tensors else _by_class(tensors, info, None),
        undrawn=undrawn,
        zoom=usual_zoom(height, width, most),
        soft_labels=_soft_labels(seen, info.class_names),
        cost=_cost(stored, tensors["images"]),
        figures={} if run is None else figures_of(run),
        frames=[] if run is None else frames_of(run, stored),
        paper="" if recipe is None else _paper(recipe),
    )


def _paper(recipe: Recipe) -> str:
    label = recipe.network_label
    known = paper_accuracy(recipe.dataset, recipe.ipc, recipe.method, label, "convnet") if recipe.is_papers else None
    return "" if known is None else mean_and_deviation(*known)


def _common_facts(stored: registry.StoredSet) -> Facts:
    manifest, info = stored.manifest, stored.manifest.dataset
    shape = [] if manifest.pool else manifest.tensors["images"].shape
    facts = [
        ("dataset", f"{info.name}, {info.split} split, {many(sum(info.counts), 'image', ',')}"),
        ("classes", str(len(info.class_names))),
        ("images", "×".join(map(str, shape))),
        ("normalised with", f"mean {in_words(info.mean)}, standard deviation {in_words(info.std)}"),
    ]
    facts += [(name, _stated(name, item)) for name, item in manifest.provenance.items() if name != "training loss"]
    facts.append(("stored", to_the_minute(stored.stored)))
    facts.append(("file", bytes_in_words(stored.size)))
    return [(term, value) for term, value in facts if value]


def _stated(name: str, item: Any) -> str:
    if name == "seconds" and isinstance(item, float):
        return duration(item)
    return to_the_minute(item) if name == "created" and isinstance(item, str) else in_words(item)


def _by_class(seen: Any, info: registry.DatasetInfo, neighbours: Neighbours | None) -> list[ClassImages]:
    images_NCHW, labels_N = seen["images"], seen["labels"]
    real_NHWC, distances_N = neighbours or (None, None)
    found = []
    for label in np.unique(labels_N).tolist():
        own = np.flatnonzero(labels_N == label)
        drawn_NHWC = levels(images_NCHW[own], info.mean, info.std)
        note = ""
        if distances_N is not None:
            ends = [f"{each(distances_N[own]):.3f}" for each in (np.min, np.max)]
            note = " to ".join(dict.fromkeys(ends))
        picture = sheet(drawn_NHWC, None if real_NHWC is None else real_NHWC[own])
        found.append(ClassImages(info.class_names[label], len(own), picture, note))
    return found


def _soft_labels(seen: Any, class_names: list[str]) -> SoftLabels | None:
    soft_NK, labels_N = seen.get("soft_labels"), seen["labels"]
    if soft_NK is None or not len(labels_N):
        return None
    first = np.unique(labels_N, return_index=True)[1][:_LABELS]
    whole = soft_NK.shape[1] <= _ALL_PROBABILITIES
    rows = []
    for index in first.tolist():
        row_K = soft_NK[index]
        if whole:
            cells = [(f"{100 * value:.1f}", _shade(value)) for value in row_K.tolist()]
        else:
            largest = np.argsort(-row_K, kind="stable")[:_LARGEST_PROBABILITIES].tolist()
            cells = [(f"{class_names[each]} {100 * row_K[each]:.1f}", _shade(row_K[each])) for each in largest]
        rows.append((class_names[labels_N[index]], cells))
    return SoftLabels(class_names if whole else [], rows, len(labels_N) - len(first))


def _shade(probability: float) -> int:
    return min(_SHADES, max(0, round(probability * _SHADES)))


def _cost(stored: registry.StoredSet, images_NCHW: Array) -> Facts:
    cost, info = Cost.of_manifest(stored.manifest), stored.manifest.dataset
    fitting = fit_in_8_bits(images_NCHW, info.mean, info.std)
    real = sum(info.counts)
    share = f"{100 * stored.manifest.tensors['images'].shape[0] / real:.2g} % of {real:,}" if real else "?"
    return [("stores", cost_in_words(cost, fitting)), ("part of the training images", share)]
