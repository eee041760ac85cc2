"""The page of a set or a pool of experts, or of several side by side."""

from collections.abc import Sequence
from pathlib import Path

import registry
from dsactl.data.load import load_again
from dsactl.engine.progress import Progress
from dsactl.evaluation.differences import differing, facts_of, in_rows
from dsactl.evaluation.resolve import check_matches
from dsactl.pages.accuracies import WIDTH, comparisons
from dsactl.pages.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, Point, charts
from dsactl.pages.curves import WIDTH as CHART_WIDTH
from dsactl.pages.images import ZOOMS
from dsactl.pages.neighbours import nearest
from dsactl.pages.rendering import render
from dsactl.pages.views import Neighbours, View, view_of_pool, view_of_set
from dsactl.runs.job import load_source
from dsactl.synthetic.bundled import evaluations
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store

Found = tuple[registry.Reader, registry.StoredSet]


def artifacts_page(
    found: Sequence[Found], store: registry.Store, progress: Progress, *, neighbours: bool, data: str | Path | None
) -> bytes:
    """Return the page of sets and pools.

    Args:
        found: with the stores that have them.
        store: the user's.
        progress: counts sets.
        neighbours, data: see `page`.

    Raises:
        dsactl.Error: a set is damaged; or neighbours cannot be found.
    """
    views = []
    for done, each in enumerate(found):
        progress.update(done, len(found), f"reading {each[1].reference}")
        views.append(_view(*each, store, progress.part(done, 1, len(found)), neighbours=neighbours, data=data))
    stored = [each for _, each in found]
    sets = [each for each in stored if each.kind == registry.SET]
    measured = [evaluations(each, store) for each in stored]
    of_sets = [records for each, records in zip(stored, measured, strict=True) if each.kind == registry.SET]
    title = views[0].reference if len(views) == 1 else f"{len(views)} artifacts side by side"
    if len(views) > 1 and len(sets) == len(views):
        title = f"{len(views)} sets side by side"
    return render(
        "artifacts.html",
        title=title,
        views=views,
        comparisons=comparisons(sets, of_sets, store) if sets else [],
        charts=charts(_figures(views, stored)),
        differences=in_rows(differing(list(map(facts_of, stored, measured)))) if len(stored) > 1 else [],
        zooms=ZOOMS,
        neighbours=neighbours,
        plot_width=WIDTH,
        chart={
            "width": CHART_WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": CHART_WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
    )


def _view(
    where: registry.Reader,
    stored: registry.StoredSet,
    store: registry.Store,
    progress: Progress,
    *,
    neighbours: bool,
    data: str | Path | None,
) -> View:
    if neighbours:
        stored.check_kind(registry.SET)
        synthetic = from_store(where, stored)
        return view_of_set(where, stored, store, _neighbours(synthetic, store, data, progress))
    return view_of_pool(stored) if stored.kind == registry.EXPERTS else view_of_set(where, stored, store, None)


def _neighbours(synthetic: SyntheticSet, store: registry.Store, data: str | Path | None, meter: Progress) -> Neighbours:
    """Find the real neighbours of the images of a set.

    Raises:
        dsactl.Error: the training images cannot be read, or are others.
    """
    if data is None:
        real = load_source(store, synthetic.recipe, meter)
    else:
        real = load_again(str(data), synthetic.recipe.checksum, **synthetic.folder_options, progress=meter)
    check_matches(synthetic, real)
    places_N, distances_N = nearest(synthetic.pixels(), synthetic.labels, real)
    return real.train.images_NCHW[places_N].permute(0, 2, 3, 1).numpy(), distances_N.numpy()


def _figures(views: Sequence[View], stored: Sequence[registry.StoredSet]) -> dict[str, dict[str, list[Point]]]:
    """Return the figures of the runs of sets, with the method if there are several: each has a distance of its own."""
    runs = [(view, each.manifest.method) for view, each in zip(views, stored, strict=True) if view.figures]
    several = len({method for _, method in runs}) > 1
    return {
        view.reference: {f"{name}, {method}" if several else name: points for name, points in view.figures.items()}
        for view, method in runs
    }
