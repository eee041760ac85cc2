"""The points of the study: a set, the time that it took, and the accuracies of networks that are trained on it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from dsactl.data.dataset import Dataset
from dsactl.engine.session import Session
from dsactl.evaluation.protocol import Evaluation, Protocol, Sample
from dsactl.expert_pools.recipe import PoolRequest
from dsactl.studies.clock.curves import METHODS, RELABEL, Stop
from dsactl.studies.clock.making import Made
from dsactl.studies.whole_result import stored_whole

Series = tuple[str, int]
"""A method of `curves.METHODS`, and F."""


@dataclass(frozen=True)
class Point(Sample):
    """The results of one set.

    Attributes:
        dataset: its name.
        ipc, method, formation: of the curve.
        number: of the set among those of the curve, from 0.
        minutes: after which it was to be taken; 0 for a set that is made at once.
        steps: after which it was taken; 0 for a set that is made at once.
        seconds: that making it takes at the measured speed, without the experts; see `Made`.
        elapsed: seconds that making it took.
        pool: reference of the experts; empty without any.
        pool_seconds: that training them took; None if that is not known, and without any.
        pool_networks, pool_epochs: their number, and the epochs of each; 0 without any.
        reference, digest: of the set.
        network, accuracies, epochs, augmentation, device, program: see `Evaluation`.
        protocol: name of the protocol.
        testing: seconds of training and testing the networks.
        made_in: the environment that made the set.
        machine: on which the set was made and its networks were trained.
        pool_settings: those of the experts that are not the defaults, "batch 256, lr 0.04"; empty without any.
        images: checksums of the dataset's training and test images; empty in a folder of an earlier version.
    """

    dataset: str
    ipc: int
    method: str
    formation: int
    number: int
    minutes: int
    steps: int
    seconds: float
    elapsed: float
    pool: str
    pool_seconds: float | None
    pool_networks: int
    pool_epochs: int
    reference: str
    digest: str
    network: str
    accuracies: tuple[float, ...]
    epochs: int
    augmentation: str
    protocol: str
    testing: float
    device: str
    program: str
    made_in: str
    machine: str
    pool_settings: str = ""
    images: str = ""

    @property
    def plot(self) -> tuple[str, int]:
        """The dataset and the number of images per class, which have a plot and a table."""
        return self.dataset, self.ipc

    @property
    def key(self) -> tuple[object, ...]:
        """What a newer result of the same point has too."""
        return (*self.plot, self.method, self.formation, self.number, self.minutes)


COLUMNS = (*(each.name for each in fields(Point) if each.name != "accuracies"), "n", "mean", "std")
"""Of the results as CSV."""


@dataclass(frozen=True)
class Whole(Sample):
    """A stored result of networks that were trained on a whole training split.

    Attributes:
        dataset: its name.
        network, accuracies, epochs, augmentation: see `Evaluation`.
        protocol: name of the protocol.
    """

    dataset: str
    network: str
    accuracies: tuple[float, ...]
    epochs: int
    augmentation: str
    protocol: str


@dataclass(frozen=True)
class Mean(Sample):
    """The sets of a curve at one time, together.

    Attributes:
        points: of the sets.
    """

    points: Sequence[Point]

    @property
    def accuracies(self) -> tuple[float, ...]:  # type: ignore[override]
        """Of all networks on all sets, percent."""
        return tuple(accuracy for point in self.points for accuracy in point.accuracies)

    @property
    def minutes(self) -> float:
        """That making a set takes, without the experts."""
        return statistics.fmean(point.seconds for point in self.points) / 60

    @property
    def pool_minutes(self) -> float | None:
        """That training the experts took; None if that is not known, and without any."""
        known = self.points[0].pool_seconds
        return None if known is None else known / 60

    @property
    def in_words(self) -> str:
        """The mean and standard deviation; only the mean for one network."""
        return f"{self.mean:.1f}" if self.n == 1 else f"{self.mean:.1f} ± {self.std:.1f}"


def point_of(stop: Stop, dataset: Dataset, made: Made, result: Evaluation, protocol: str, machine: str) -> Point:
    """Return the point of a set and of its evaluation, by the protocol of this name, on this machine."""
    request, provenance = stop.curve.request, made.stored.manifest.provenance
    taken = None if made.pool is None else made.pool.manifest.provenance.get("seconds")
    experts = None if made.pool is None else made.pool.manifest.pool
    return Point(
        dataset=dataset.name,
        ipc=request.ipc,
        method=stop.curve.method,
        formation=request.formation,
        number=stop.number,
        minutes=stop.minutes,
        steps=made.steps,
        seconds=made.seconds,
        elapsed=made.elapsed,
        pool="" if made.pool is None else made.pool.reference,
        pool_seconds=float(taken) if isinstance(taken, int | float) else None,
        pool_networks=0 if experts is None else experts.networks,
        pool_epochs=0 if experts is None else experts.epochs[-1],
        reference=result.reference,
        digest=result.digest,
        network=result.network,
        accuracies=result.accuracies,
        epochs=result.epochs,
        augmentation=result.augmentation,
        protocol=protocol,
        testing=result.seconds,
        device=result.device,
        program=result.program,
        made_in=f"{provenance.get('program')}, {provenance.get('environment')}",
        machine=machine,
        pool_settings="" if made.pool is None else _differing(made.pool.manifest.recipe),
        images=", ".join(dataset.checksums),
    )


def _differing(recipe: Mapping[str, Any]) -> str:
    """Return the settings of training a pool's networks that are not the defaults, apart from the number of epochs."""
    usual = PoolRequest()
    names = ("batch", "lr", "momentum", "weight_decay", "cutmix", "seed")
    return ", ".join(f"{name} {recipe[name]:g}" for name in names if recipe[name] != getattr(usual, name))


def merged(earlier: Sequence[Point], newer: Sequence[Point]) -> list[Point]:
    """Return all points, the newer ones in the place of earlier ones, sorted by what they are."""
    known = {point.key: point for point in (*earlier, *newer)}
    return sorted(
        known.values(),
        key=lambda point: (
            point.dataset,
            point.ipc,
            METHODS.index(point.method),
            point.formation,
            point.minutes,
            point.number,
        ),
    )


def series_of(points: Sequence[Point]) -> dict[Series, list[Mean]]:
    """Return the curves of a dataset and a number of images per class, each in the order of its times.

    Args:
        points: sorted, of one dataset and ipc.
    """
    grouped: dict[Series, dict[int, list[Point]]] = {}
    for point in points:
        times = grouped.setdefault((point.method, point.formation), {})
        times.setdefault(point.minutes, []).append(point)
    return {series: [Mean(several) for several in times.values()] for series, times in grouped.items()}


def label(series: Series) -> str:
    """Return a curve's name for people: "random + soft, F = 2"."""
    method, formation = series
    name = "random + soft" if method == RELABEL else method
    return f"{name}, F = {formation}" if formation > 1 else name


def to_json(sample: Point | Whole) -> dict[str, Any]:
    """Return a result as JSON values, derived ones included."""
    return {
        **asdict(sample),
        "accuracies": list(sample.accuracies),
        "n": sample.n,
        "mean": sample.mean,
        "std": sample.std,
    }


def point_from_json(row: Mapping[str, Any]) -> Point:
    """Return the point of `to_json`.

    Raises:
        KeyError, TypeError, ValueError: the values were changed by hand.
    """
    return Point(**_values(row, Point))


def whole_from_json(row: Mapping[str, Any]) -> Whole:
    """Return the result of `to_json`; errors as of `point_from_json`."""
    return Whole(**_values(row, Whole))


def _values(row: Mapping[str, Any], kind: type[Point | Whole]) -> dict[str, Any]:
    found = {each.name: row[each.name] for each in fields(kind) if each.default is MISSING or each.name in row}
    found["accuracies"] = tuple(map(float, found["accuracies"]))
    if not found["accuracies"] or found.get("method", RELABEL) not in METHODS:
        raise ValueError("a result without accuracies, or of an unknown method")
    for name in ("seconds", "minutes", "ipc", "formation", "number", "steps", "epochs", "pool_networks", "pool_epochs"):
        if not isinstance(found.get(name, 0), int | float):
            raise TypeError(f"{name} is not a number")
    return found


def find_whole(dataset: Dataset, protocol: Protocol, session: Session) -> Whole | None:
    """Return the cached result of the whole training split, trained for its usual epochs; None without one.

    Args:
        dataset: of the training and the test images.
        protocol: of the points. Without a name it stands for the usual one of a whole training split.
        session: has the store with the cache.
    """
    _, key, known = stored_whole(dataset, protocol, session)
    if not known:
        return None
    accuracies = tuple(result.accuracy for _, result in sorted(known.items()))
    return Whole(dataset.name, key.network, accuracies, key.plan.epochs, key.augmentation, key.protocol)
