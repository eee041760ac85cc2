"""What the store keeps of the run that made a set: its log of figures, and images on the way if they were recorded."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import registry
from dsactl.engine.run_files import EVENTS, FINISHED, read_json
from dsactl.pages.curves import Point, read_events
from dsactl.pages.images import Picture, drawable, levels, sheet
from dsactl.recipes.recipe import Recipe
from dsactl.runs.job import run_folder
from dsactl.studies.evolution import recorded

_MOST_FRAMES = 8


@dataclass(frozen=True)
class Frame:
    """The first image of every class after some iterations."""

    iterations: int
    picture: Picture


def run_of(store: registry.Store, stored: registry.StoredSet, recipe: Recipe) -> Path | None:
    """Return the folder of the run that made a set's images; None if this store does not have it.

    Args:
        store: the user's.
        stored: the set.
        recipe: its recipe.
    """
    folder = run_folder(store, replace(recipe, labels=None))  # labels that were replaced later have no run
    try:
        digest = (read_json(folder / FINISHED) or {})["digest"]
        if stored.digest == digest:
            return folder
        made = store.find(registry.Reference(None, digest=digest))
    except (OSError, ValueError, KeyError, TypeError, registry.RegistryError):
        return None
    return folder if made.manifest.tensors["images"] == stored.manifest.tensors["images"] else None


def figures_of(folder: Path) -> dict[str, list[Point]]:
    """Return the figures of a run by step: distances, losses, norms, whatever its method reports."""
    return read_events(folder / EVENTS)


def frames_of(folder: Path, stored: registry.StoredSet) -> list[Frame]:
    """Return images on the way, at up to eight numbers of iterations; none if they were not recorded."""
    info, seen = stored.manifest.dataset, recorded(folder)
    numbers = sorted(seen)
    places = np.linspace(0, len(numbers) - 1, min(_MOST_FRAMES, len(numbers))).round().astype(int)
    frames = []
    for number in (numbers[place] for place in dict.fromkeys(places.tolist())):
        images_KICHW = seen[number]
        with contextlib.suppress(ValueError, IndexError):  # of another shape than the set
            if drawable(images_KICHW.shape[2]):
                first_NHWC = levels(images_KICHW[:, 0].numpy(), info.mean, info.std)
                frames.append(Frame(number, sheet(first_NHWC, columns=min(5, len(first_NHWC)))))
    return frames
