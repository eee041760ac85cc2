"""The paper's figures, drawn of ours: sets (Figure 2), gradient norms (Figure 5), images on their way (Figure 6)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import registry
from dsactl.recipe import Request
from dsactl.studies.cells import Report, make_one
from dsactl.studies.evolution import strip, watch_condensing
from dsactl.studies.gradients import measure_norms
from dsactl.studies.plots import norms_histogram

FIGURES = {
    "figure2": "Synthetic sets of ten images per class (Figure 2)",
    "figure5": "Gradient norms of real and synthetic batches, CIFAR-10, ten images per class (Figure 5)",
    "figure6": "Images while they are learned, CIFAR-10 (Figure 6)",
}
"""Their titles."""

SETS = ("mnist", "fashionmnist", "svhn", "cifar10")
CLASSES = ("automobile", "cat")
"""The classes that Figure 6 shows."""


@dataclass(frozen=True)
class Part:
    """A picture of a figure.

    Attributes:
        name: of the part, such as a data set's.
        caption: what is below it.
        make: draws it, PNG, from the store, the device and a report of steps.
    """

    name: str
    caption: str
    make: Callable[[registry.Store, str, Report], bytes]


def parts(figure: str, base: Request, networks: int) -> list[Part]:
    """The pictures of a figure.

    Args:
        figure: a key of `FIGURES`.
        base: seed and iterations.
        networks: that gradients are measured with.
    """
    if figure == "figure2":
        return [
            Part(name, f"{name}, ten images per class", partial(_set, replace(base, dataset=name, ipc=10)))
            for name in SETS
        ]
    cifar10 = replace(base, dataset="cifar10")
    if figure == "figure5":
        draw = partial(_norms, replace(cifar10, ipc=10), networks)
        return [Part("cifar10", f"Norms of the classes' gradients, {networks} networks each", draw)]
    both = " and ".join(CLASSES)
    return [
        Part("noise", f"{both}, from noise", partial(_way, replace(cifar10, init="noise"))),
        Part("real", f"{both}, from real images", partial(_way, replace(cifar10, init="real"))),
    ]


def _set(request: Request, store: registry.Store, device: str, report: Report) -> bytes:
    _, stored = make_one(request, store, device, report)
    picture = store.picture_bytes(stored)
    assert picture is not None, "every set that is condensed has one"
    return picture


def _norms(request: Request, networks: int, store: registry.Store, device: str, report: Report) -> bytes:
    found = {
        name: measure_norms(asked, networks, store, device, report)
        for name, asked in (("with DSA", request), ("without", replace(request, strategy="none")))
    }
    return norms_histogram(found, title=f"{request.dataset}, {request.ipc} per class")


def _way(request: Request, store: registry.Store, device: str, report: Report) -> bytes:
    job, seen = watch_condensing(request, store, device, report)
    return strip(seen, job.dataset, [job.dataset.class_names.index(name) for name in CLASSES])
