"""The paper's figures with our results: sets (Figure 2), gradient norms (Figure 5), images while learned (Figure 6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from dsactl.augmentation.strategy import Strategy
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.methods.gradient_matching.settings import GradientMatching
from dsactl.recipes.recipe import Request
from dsactl.studies.cells import make_one
from dsactl.studies.evolution import strip, watch_condensing
from dsactl.studies.gradients import CONDENSED, measure_norms
from dsactl.studies.plots import norms_histogram
from dsactl.studies.titles import PARTS
from dsactl.text.formatting import many

CLASSES = ("automobile", "cat")
"""The classes in Figure 6."""


@dataclass(frozen=True)
class Part:
    """A picture of a figure.

    Attributes:
        name: of the part, such as a dataset's name.
        caption: the text below it.
        requests: of the sets that it shows.
        make: returns the PNG.
        watched: whether the images of its sets are recorded while learned.
    """

    name: str
    caption: str
    requests: tuple[Request, ...]
    make: Callable[[Session], bytes]
    watched: bool = False

    def origin(self, session: Session) -> str:
        """Describe how its finished sets were made: iterations, time, program and machine."""
        made = [make_one(request, replace(session, progress=Progress())) for request in self.requests]
        about = [stored.manifest.provenance for _, stored in made]
        seconds = sum(float(str(each.get("seconds", 0.0))) for each in about)
        iterations = made[0][0].recipe.settings_as(GradientMatching).iterations
        where = dict.fromkeys(f"{each.get('program')}, {each.get('environment')}" for each in about)
        done = f"{iterations} of {GradientMatching.iterations} iterations"
        return f"{done}; made in {seconds / 60:.1f} min with {'; '.join(where)}"


def parts(figure: str, base: Request, networks: int) -> list[Part]:
    """Return the pictures of a figure.

    Args:
        figure: a key of `titles.FIGURES`.
        base: has the seed and the iterations.
        networks: number of networks for gradient norms.
    """
    if figure == "figure2":
        tens = {name: replace(base, dataset=name, ipc=10) for name in PARTS[figure]}
        return [Part(name, f"{name}, ten images per class", (ten,), partial(_set, ten)) for name, ten in tens.items()]
    cifar10 = replace(base, dataset="cifar10")
    if figure == "figure5":
        pair = (replace(cifar10, ipc=10), replace(cifar10, ipc=10, strategy=Strategy()))
        caption = f"Norms of the classes' gradients, {many(networks, 'network')} each"
        return [Part("cifar10", caption, pair, partial(_norms, pair, networks))]
    both = f"{' and '.join(CLASSES)}, one image per class, from"
    noise, real = (cifar10.varied(init=init) for init in ("noise", "real"))
    return [
        Part("noise", f"{both} noise", (noise,), partial(_evolution, noise), watched=True),
        Part("real", f"{both} real images", (real,), partial(_evolution, real), watched=True),
    ]


def _set(request: Request, session: Session) -> bytes:
    _, stored = make_one(request, session)
    picture = session.store.picture_bytes(stored)
    assert picture is not None, "condensed sets have a picture"
    return picture


def _norms(pair: Sequence[Request], networks: int, session: Session) -> bytes:
    found = {
        name: measure_norms(request, networks, session.part(index, 1, 2, name))
        for index, (name, request) in enumerate(zip(CONDENSED, pair, strict=True))
    }
    return norms_histogram(found, title=f"{pair[0].dataset}, {pair[0].ipc} per class")


def _evolution(request: Request, session: Session) -> bytes:
    job, seen = watch_condensing(request, session)
    return strip(seen, job.dataset, [job.dataset.class_names.index(name) for name in CLASSES])
