"""An evaluation: n networks trained from scratch on a set, each tested once, at the end."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.device import prepare_device
from dsactl.engine.progress import NO_FIGURES, ForwardedProgress, Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import Failure, Task
from dsactl.errors import INTERRUPTS, RunError, continue_hint, explain_interrupt
from dsactl.evaluation.cache import EvaluationKey, NetworkResults, ResultCache, StoredResults, now
from dsactl.evaluation.protocol import Evaluation, NetworkResult, Protocol
from dsactl.evaluation.resolve import check_matches, evaluation_key, is_own_augmentation, resolve_networks
from dsactl.evaluation.task import Networks, train_and_test
from dsactl.paper import MeanStd, full_data_accuracy, paper_accuracy
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic.synthetic_set import SyntheticSet
from registry.manifest import canonical


def evaluate_cached(
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    session: Session,
    *,
    fresh: bool = False,
) -> Evaluation:
    """Evaluate a set and record the result; only networks without a cached result are trained.

    Args:
        synthetic, dataset, protocol: see `evaluate`.
        session: has the store with the cache and the records. Its meter is also told how many results are `stored`.
        fresh: train every network, and drop cached results of these networks.

    Raises:
        DsactlError: see `evaluate`.
        registry.StoreError: the store cannot be written to.
    """
    store = session.store
    store.check_writable()
    progress = _ProgressWithStored(session.progress, protocol.networks)
    cache = _CacheOfOne(StoredResults(store), progress, protocol.networks, fresh=fresh)
    try:
        result = evaluate(synthetic, dataset, protocol, replace(session, progress=progress), cache)
    except INTERRUPTS as interrupt:
        cache.report_stored()  # it may have come after a result was saved and before the meter was told
        _explain(interrupt, progress.stored, protocol.networks, fresh=fresh)
        raise
    result = replace(result, created=cache.created)
    if not cache.has_trained and _is_recorded(store, result):
        return replace(result, repeated=True)
    store.add_evaluation(synthetic.digest, result.to_dict())
    return result


def _explain(interrupt: BaseException, stored: int, networks: int, *, fresh: bool) -> None:
    if stored:
        message = f"Interrupted; {stored} of {networks} networks are finished and stored."
        hint = continue_hint(fresh=fresh)
    else:
        message = "Interrupted before any network was finished; no result is stored."
        hint = "Small networks are trained in parallel and finish together."
    explain_interrupt(interrupt, message, hint)


def evaluate(
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    session: Session,
    cache: ResultCache | None = None,
) -> Evaluation:
    """Train n networks on a set and test each once on the whole test split.

    Args:
        synthetic: the set.
        dataset: the one that the set was made from; only its test images are used.
        protocol: see `Protocol`.
        session: has the executor that trains the networks. Its meter counts networks; those in training are fractions.
        cache: results of earlier networks, and where to save new ones; None for no cache.

    Raises:
        DataError: the set was made from another dataset, or its soft labels are not of its classes.
        DeviceError: the device does not have the precision.
        UsageError: the protocol needs a learning rate that was learned with the set.
        NetworkError: the network cannot take the images.
        RunError: a worker died repeatedly.
    """
    check_matches(synthetic, dataset)
    prepare_device(session.device)
    session = replace(session, executor=session.executor.choose(protocol.networks))
    networks = resolve_networks(synthetic, dataset, protocol, session.device)
    key = evaluation_key(networks, protocol, session.device, session.executor.threads)
    cached = cache.load(key) if cache else {}
    results = {number: cached[number] for number in range(protocol.networks) if number in cached}
    missing = [number for number in range(protocol.networks) if number not in results]
    failures = []
    part = session.part(len(results), len(missing), protocol.networks)
    for task, trained in _train_missing(networks, missing, part):
        if isinstance(trained, Failure):
            failures.append(f"{key.network}, {task.name} failed: {trained.message}.")
            continue
        results |= zip(task.arguments[0], trained, strict=True)
        if cache:
            cache.save(key, results)
    if failures:
        hint = "Evaluate again, without `fresh=True`, to retry them; all other results are saved."
        raise RunError(" ".join(failures), hint)
    return _assemble(synthetic, protocol, key, [results[number] for number in range(protocol.networks)])


def _train_missing(
    networks: Networks, missing: Sequence[int], session: Session
) -> Iterator[tuple[Task[list[NetworkResult]], list[NetworkResult] | Failure]]:
    """Train and test the networks without a result; yield each group's task, whose first argument is their numbers."""
    if not missing:
        return
    executor, device = session.executor, session.device
    groups = _neighbours(missing, executor.group_size(len(missing), networks.side_by_side(device)))
    tasks = [Task(_name(group), train_and_test, (group, executor.task_device(device)), len(group)) for group in groups]
    yield from executor.run(networks, tasks, session.progress)


def _neighbours(numbers: Sequence[int], most: int) -> list[range]:
    """Split ascending numbers into ranges of at most `most`."""
    ranges: list[range] = []
    for number in numbers:
        if ranges and ranges[-1].stop == number and len(ranges[-1]) < most:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return ranges


def _name(indices: range) -> str:
    first, last = indices.start + 1, indices.stop
    return f"network {first}" if first == last else f"networks {first} to {last}"


def _assemble(
    synthetic: SyntheticSet, protocol: Protocol, key: EvaluationKey, results: Sequence[NetworkResult]
) -> Evaluation:
    own = synthetic.recipe.network
    return Evaluation(
        reference=synthetic.reference,
        accuracies=tuple(result.accuracy for result in results),
        seconds=math.fsum(result.seconds for result in results),
        created=now(),
        twin=protocol.network is None and own is not None and own.has_batch_norm,
        own_augmentation=is_own_augmentation(synthetic, protocol),
        paper=_paper(synthetic, protocol, key.network),
        **key.conditions,
    )


def _paper(synthetic: SyntheticSet, protocol: Protocol, label: str) -> MeanStd | None:
    recipe = synthetic.recipe
    if recipe.method == WHOLE:
        return full_data_accuracy(recipe.dataset) if label == "convnet" and protocol.is_papers else None
    is_whole = len(synthetic) == recipe.decoded * len(synthetic.class_names)  # and no part of it
    if not (is_whole and recipe.is_papers and protocol.is_of(recipe.method)):
        return None
    return paper_accuracy(recipe.dataset, recipe.ipc, recipe.method, recipe.network_label, label)


class _ProgressWithStored(ForwardedProgress):
    """The meter of an evaluation, which is also told how many results are stored.

    Attributes:
        stored: number of stored results.
    """

    def __init__(self, progress: Progress, networks: int) -> None:
        super().__init__(progress)
        self._networks, self._done, self.stored = networks, 0.0, 0

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del total, doing
        self._done = done
        known = {**figures, "stored": self.stored}
        super().update(done, self._networks, f"{self.stored} finished and stored", known)

    def store(self, count: int) -> None:
        """Set the number of stored results."""
        self.stored = count
        self.update(max(self._done, count), self._networks)


class _CacheOfOne(ResultCache):
    """The stored results of one evaluation, those of its networks alone: the store may have more of the same kind.

    Attributes:
        created: when the last network was finished.
    """

    def __init__(self, stored: StoredResults, progress: "_ProgressWithStored", networks: int, *, fresh: bool) -> None:
        self._stored, self._progress, self._networks = stored, progress, networks
        self._fresh = fresh  # whether their results are ignored; the first `save` drops them
        self._key: EvaluationKey | None = None
        self._trained: frozenset[int] = frozenset()
        self.created = now()

    @property
    def has_trained(self) -> bool:
        """Whether a network was trained, and not all results were there already."""
        return bool(self._trained)

    def load(self, key: EvaluationKey) -> NetworkResults:
        self._key = key
        results = self._read(key)
        self._progress.store(len(results))
        return results

    def save(self, key: EvaluationKey, results: NetworkResults) -> None:
        self._trained = frozenset(results)
        self._stored.save(key, results, fresh=self._networks if self._fresh else 0)
        self._fresh = False
        self.report_stored()

    def report_stored(self) -> None:
        """Tell the meter how many results are stored now."""
        if self._key is not None:
            saved = self._read(self._key)
            self._progress.store(len(self._trained & saved.keys() if self.has_trained else saved))

    def _read(self, key: EvaluationKey) -> NetworkResults:
        results, self.created = ({}, now()) if self._fresh else self._stored.read(key)
        return {number: result for number, result in results.items() if number < self._networks}


def _is_recorded(store: registry.Store, result: Evaluation) -> bool:
    """Return whether a record has the same accuracies of the same network on the same test images."""
    about = {"accuracies": result.accuracies, "network": result.network, "test_checksum": result.test_checksum}
    same = json.loads(canonical(about))
    records = store.evaluations(result.digest)
    return any(all(record.get(name) == value for name, value in same.items()) for record in records)
