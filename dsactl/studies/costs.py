"""The estimated cost of a study, in sets, networks, operations and time.

Seconds come from trials of a few steps on this machine. Algorithm 1 is tried once for each network and image shape,
with and without training of the network, and scaled by its operations; evaluation is tried once for each network, shape
and batch size.
"""

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.data.parts import first_of_each
from dsactl.engine.clock import Clock
from dsactl.engine.progress import NO_FIGURES, Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import LocalExecutor
from dsactl.evaluation.cache import EvaluationKey, NetworkResults, ResultCache
from dsactl.evaluation.evaluate import evaluate
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.resolve import augmentation_of, evaluated_network, training_epochs
from dsactl.recipes.methods import WHOLE, find
from dsactl.recipes.recipe import Recipe
from dsactl.runs.cost import making_operations, try_a_step
from dsactl.runs.job import STUDIES, Job
from dsactl.runs.run import is_made
from dsactl.studies.entries import Entry
from dsactl.studies.evolution import is_watched
from dsactl.synthetic.synthetic_set import SyntheticSet

_EPOCHS = 4  # of a trial; the first warms up
_TESTED = 500  # images


@dataclass(frozen=True)
class Cost:
    """The estimated cost of a study.

    Attributes:
        sets: number of sets to make.
        made: number of sets in the store.
        operations: floating-point operations of making the sets.
        making: seconds of making the sets, without those of methods of other packages.
        unknown: methods of other packages, whose time is unknown.
        networks: number of networks to train and test, including those with cached results.
        testing: seconds of training and testing them.
    """

    sets: int
    made: int
    operations: float
    making: float
    unknown: tuple[str, ...]
    networks: int
    testing: float


def estimate(
    entries: Sequence[Entry],
    prepared: Sequence[Job],
    sets: int,
    session: Session,
    *,
    tested: bool = True,
) -> Cost:
    """Estimate the cost by counting operations, and by trials.

    Args:
        entries: of the cells.
        prepared: the job of each, from `cells.check`.
        sets: number of sets per request.
        session: has the store with the finished sets. Its meter counts trials.
        tested: whether networks are trained on the sets.
    """
    trials = Trials(session)
    wanted = {
        repr(entry.request): (entry, job)
        for entry, job in zip(entries, prepared, strict=True)
        if entry.request.method != WHOLE
    }
    left, operations, making, unknown = 0, 0.0, 0.0, set[str]()
    ordered = sorted(wanted.values(), key=lambda pair: making_operations(pair[1].recipe, pair[1].dataset))
    measured = list(zip(entries, prepared, strict=True)) if tested else []
    total = len(ordered) + len(measured)
    for index, (entry, job) in enumerate(ordered):
        count = sum(not _is_made(session.store, entry, job, number) for number in range(sets))
        if count:
            seconds = trials.making(job)
            left, operations = left + count, operations + count * making_operations(job.recipe, job.dataset)
            making += count * (seconds or 0.0)
            unknown |= set() if seconds is not None else {job.recipe.method}
        session.progress.update(index + 1, total)
    networks, testing = 0, 0.0
    for index, (entry, job) in enumerate(measured):
        count = entry.protocol.networks * (1 if entry.request.method == WHOLE else sets)
        networks += count
        testing += count * trials.testing(job, entry)
        session.progress.update(len(ordered) + index + 1, total)
    return Cost(left, sets * len(wanted) - left, operations, making, tuple(sorted(unknown)), networks, testing)


def _is_made(store: registry.Store, entry: Entry, job: Job, number: int) -> bool:
    """Return whether one of an entry's sets would only be looked up."""
    known = is_watched if entry.watched and number == 0 else is_made
    return known(store, job.with_seed(number).within(STUDIES))


class Trials:
    """Results of trials, so that none is repeated."""

    def __init__(self, session: Session) -> None:
        self._session = replace(session, executor=LocalExecutor())
        self._making: dict[Hashable, float | None] = {}
        self._testing: dict[Hashable, tuple[float, float]] = {}

    def making(self, job: Job) -> float | None:
        """Return the seconds of making one set; None if unknown."""
        recipe = job.recipe
        size, same = _size(recipe, job.dataset)
        key = (same, recipe.network_label, recipe.image_shape, recipe.precision)
        if key not in self._making:
            tried = try_a_step(recipe, job.dataset)
            self._making[key] = None if tried is None else tried.seconds / size
        rate = self._making[key]
        return None if rate is None else rate * size

    def testing(self, job: Job, entry: Entry) -> float:
        """Return the seconds of training and testing one network on a set of an entry."""
        dataset, whole = job.dataset, entry.request.method == WHOLE
        recipe = replace(job.recipe, method=WHOLE) if whole else job.recipe
        batch = entry.protocol.resolve(recipe).batch
        images = len(dataset.train) if whole else dataset.classes * recipe.ipc
        few = first_of_each(dataset, -(-_TESTED // dataset.classes))
        tried = min(images, batch)
        standing_in = SyntheticSet(
            torch.zeros(tried, *recipe.image_shape),
            torch.arange(tried) * dataset.classes // tried,
            dataset.class_names,
            dataset.mean,
            dataset.std,
            replace(recipe, checksum=few.train.checksum()),
            "",
            "a trial",
        )
        network = evaluated_network(standing_in, entry.protocol).label(dataset.channels, dataset.size)
        augmented = augmentation_of(standing_in, entry.protocol)[1] is not None
        key = (network, recipe.image_shape, tried, augmented, entry.protocol.networks, recipe.precision)
        if key not in self._testing:
            self._testing[key] = try_training(standing_in, few, entry.protocol, self._session)
        epoch, test = self._testing[key]
        epochs = training_epochs(standing_in, entry.protocol, images)
        return epochs * epoch * images / tried + test * len(dataset.test) / len(few.test)


def _size(recipe: Recipe, dataset: Dataset) -> tuple[float, str]:
    """Return a measure of a run's work, and a key of the runs that need the same seconds per unit of it."""
    method, settings = find(recipe.method), recipe.settings.values()
    if method.cost:
        return making_operations(recipe, dataset), f"{method.home}, trained: {settings.get('inner_steps', 1) > 1}"
    if method.passes:
        return float(len(dataset.train)) * int(settings.get("epochs", 1)), "passes"
    # For a method with unrolled training: its iterations, each with some images of the set and some real images.
    images = recipe.ipc * dataset.classes
    batch = settings.get("batch_train", settings.get("batch_synthetic", 0) * dataset.classes)
    step = min(images, batch or images)
    size = settings.get("iterations", 1) * float(
        settings.get("inner_steps", 0) * step + settings.get("batch_real", 0) or 1
    )
    return size, f"{recipe.method} {recipe.options}"


def try_training(
    synthetic: SyntheticSet, dataset: Dataset, protocol: Protocol, session: Session
) -> tuple[float, float]:
    """Time an epoch on a set, and the test, of one network: from the first networks and a few epochs.

    Args:
        synthetic, dataset, protocol, session: see `evaluate`; small ones suffice. The store and the meter are not used.

    Returns:
        Seconds of an epoch and of the test.
    """
    clock = Clock(session.device)
    trial = _TrialCache(clock)
    with contextlib.suppress(_EnoughError):
        here = replace(session, progress=_EpochClock(clock))
        evaluate(synthetic, dataset, replace(protocol, epochs=_EPOCHS), here, trial)
    return trial.seconds


class _EnoughError(Exception):
    """A trial has timed enough."""


class _EpochClock(Progress):
    """A meter that marks the end of each epoch."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clock.mark()

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del done, total, doing, figures
        self._clock.mark()


class _TrialCache(ResultCache):
    """A cache that times the training and test of the first networks, and stops the evaluation after them.

    Attributes:
        seconds: of an epoch, and of the test, of one network.
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds, self._clock = (0.0, 0.0), clock

    def load(self, key: EvaluationKey) -> NetworkResults:
        del key
        return {}

    def save(self, key: EvaluationKey, results: NetworkResults) -> None:
        del key
        epoch = self._clock.fastest()
        self._clock.mark()
        test = self._clock.marks[-1] - self._clock.marks[-2]
        self.seconds = (epoch / len(results), test / len(results))
        raise _EnoughError
