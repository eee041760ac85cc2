"""The curves of the study, and the order in which their points are made. Importing this loads no torch."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from dsactl.recipes.recipe import Request

RELABEL = "relabel"
"""Random images with soft labels from an expert (Qin et al. 2024), in the place of a method's name."""
RUNNING = ("dsa", "dm", "dance")
"""Methods whose settings do not depend on the number of steps: a longer run passes through the sets of shorter ones."""
METHODS = ("random", "herding", RELABEL, *RUNNING)
MINUTES = (1, 5, 20, 60)
"""Times at which the set of a run is taken, besides that at which it ends."""
FORMATIONS = (1, 2)

_LATER = 10
"""Minutes by which points are put off that need experts which the store does not have."""


@dataclass(frozen=True)
class Curve:
    """A curve: the sets of a method, or of random images with soft labels.

    Attributes:
        method: one of `METHODS`.
        request: of its sets; for soft labels, of the random images.
        experts: the request of the method whose pool of experts is used; None without experts.
    """

    method: str
    request: Request
    experts: Request | None = None

    @property
    def name(self) -> str:
        """The curve in messages: "cifar10:10:dsa:2"."""
        return f"{self.request.dataset}:{self.request.ipc}:{self.method}:{self.request.formation}"

    @property
    def is_running(self) -> bool:
        """Whether it has several points, which are sets of one run."""
        return self.method in RUNNING


@dataclass(frozen=True)
class Stop:
    """A point that is to be made.

    Attributes:
        curve: of the point.
        number: of the set, from 0.
        minutes: one of `times`; 0 for a method that is not running.
    """

    curve: Curve
    number: int
    minutes: int


def curves(
    base: Request, ipcs: Sequence[int], methods: Sequence[str], formations: Sequence[int], experts: str | None
) -> list[Curve]:
    """Return the curves of a dataset.

    Args:
        base: names the dataset, the network and the seed.
        ipcs: numbers of images per class.
        methods: some of `METHODS`.
        formations: of the sets.
        experts: reference of a pool of experts; None for the pool that DANCE's settings describe.
    """
    found = []
    for formation in formations:
        for ipc in ipcs:
            each = replace(base, ipc=ipc, formation=formation)
            dance = replace(each, method="dance").varied(experts=experts)
            for method in methods:
                request = replace(each, method="random" if method == RELABEL else method)
                request = dance if method == "dance" else request
                found.append(Curve(method, request, dance if method in (RELABEL, "dance") else None))
    return found


def times(minutes: int) -> list[int]:
    """Return the times at which the sets of runs are taken, in minutes, of which the given one is the last."""
    return [*(each for each in MINUTES if each < minutes), minutes]


def in_order(curves: Iterable[Curve], sets: int, minutes: int, late: Container[str]) -> list[Stop]:
    """Return the points in the order of the minutes that they take, so that the first are soon a plot.

    Args:
        curves: to be drawn.
        sets: number of sets of each.
        minutes: the longest time of a run.
        late: names of curves that need experts which the store does not have.
    """
    stops = [
        Stop(curve, number, each)
        for curve in curves
        for number in range(sets)
        for each in (times(minutes) if curve.is_running else [0])
    ]
    return sorted(stops, key=lambda stop: (stop.number, stop.minutes + (_LATER if stop.curve.name in late else 0)))


def steps_at(minutes: int, seconds: float, most: int) -> int:
    """Return the number of steps at a time of a run; 0 if the run then has no other set than at the time before.

    Args:
        minutes: one of `times`.
        seconds: of a step.
        most: steps of the whole run.
    """

    def fitting(time: int) -> int:
        return min(most, int(60 * time / seconds))

    before = max((0, *times(minutes)[:-1]))
    return fitting(minutes) if fitting(minutes) > fitting(before) else 0
