"""The evaluation protocol (Section 4.1): n networks trained from scratch on a set, each tested once, at the end."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.device import prepare_device
from dsactl.engine.tasks import Executor, Failure, LocalExecutor, Task
from dsactl.errors import RunError
from dsactl.evaluation.cache import EvaluationKey, NetworkResults, ResultCache, StoredResults, now
from dsactl.evaluation.protocol import Evaluation, NetworkResult, Protocol
from dsactl.evaluation.resolve import augmentation_of, check_matches, evaluation_key, resolve_networks
from dsactl.evaluation.task import Networks, train_and_test
from dsactl.paper import Figure, full_data_accuracy, paper_accuracy
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic.synthetic_set import SyntheticSet
from registry.manifest import canonical

Report = Callable[[float], None]
"""Called after every epoch with the number of networks done, a fraction for those in training."""


def evaluate_cached(
    store: registry.Store,
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    device: torch.device,
    report: Report = lambda networks: None,
    *,
    fresh: bool = False,
    on_saved: Callable[[int], None] = lambda networks: None,
    workers: Executor | None = None,
) -> Evaluation:
    """Evaluate a set and record the result; only networks without a cached result are trained.

    Args:
        store: holds the cache and the records.
        synthetic, dataset, protocol, device, report, workers: see `evaluate`.
        fresh: train every network, and overwrite cached results.
        on_saved: called with the number of networks whose results are saved.

    Raises:
        DsactlError: see `evaluate`.
        registry.StoreError: the store cannot be written to.
    """
    store.check_writable()
    cache = _CacheOfOne(StoredResults(store), fresh=fresh, on_saved=on_saved)
    try:
        result = evaluate(synthetic, dataset, protocol, device, report, cache, workers)
    except KeyboardInterrupt:  # it may have come after a result was saved and before `on_saved` was called
        cache.report_saved()
        raise
    result = replace(result, created=cache.created)
    if not cache.has_trained and _is_recorded(store, result):
        return replace(result, repeated=True)
    store.add_evaluation(synthetic.digest, result.to_dict())
    return result


def evaluate(
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    device: torch.device,
    report: Report = lambda networks: None,
    cache: ResultCache | None = None,
    workers: Executor | None = None,
) -> Evaluation:
    """Train n networks on a set and test each once on the whole test split.

    Args:
        synthetic: the set.
        dataset: the one that the set was made from; only its test images are used.
        protocol: see `Protocol`.
        device: where to compute.
        report: see `Report`.
        cache: results of earlier networks, and where to save new ones; None for no cache.
        workers: which train the networks; None for this process.

    Raises:
        DataError: the set was made from another dataset.
        DeviceError: the device does not have the precision.
        NetworkError: the network cannot take the images.
        RunError: a worker died repeatedly.
    """
    check_matches(synthetic, dataset)
    prepare_device(device)
    executor = (workers or LocalExecutor()).suited(protocol.networks)
    networks = resolve_networks(synthetic, dataset, protocol, device)
    key = evaluation_key(networks, protocol, device, executor.threads)
    cached = cache.load(key) if cache else {}
    results = {number: cached[number] for number in range(protocol.networks) if number in cached}
    missing = [number for number in range(protocol.networks) if number not in results]
    failures = []
    known = len(results)
    for task, trained in _train_missing(networks, missing, device, executor, lambda done: report(known + done)):
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
    networks: Networks, missing: Sequence[int], device: torch.device, executor: Executor, report: Report
) -> Iterator[tuple[Task[list[NetworkResult]], list[NetworkResult] | Failure]]:
    """Train and test the networks without a result; yield each group's task, whose first argument is their numbers."""
    if not missing:
        return
    groups = _neighbours(missing, executor.groups(len(missing), networks.side_by_side(device)))
    tasks = [Task(_name(group), train_and_test, (group, executor.place(device)), len(group)) for group in groups]
    yield from executor.run(networks, tasks, lambda share, _doing: report(len(missing) * share))


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
        own_augmentation=key.augmentation == augmentation_of(synthetic, replace(protocol, strategy=None))[0],
        paper=_paper(synthetic, protocol, key.network),
        **key.conditions,
    )


def _paper(synthetic: SyntheticSet, protocol: Protocol, label: str) -> Figure | None:
    recipe = synthetic.recipe
    if recipe.method == WHOLE:
        return full_data_accuracy(recipe.dataset) if label == "convnet" and protocol.is_papers else None
    is_whole = len(synthetic) == recipe.ipc * len(synthetic.class_names)  # and no part of it
    if not (is_whole and recipe.is_papers and protocol.is_of(recipe.method)):
        return None
    return paper_accuracy(recipe.dataset, recipe.ipc, recipe.method, recipe.network_label, label)


class _CacheOfOne(ResultCache):
    """The stored results of one evaluation.

    Attributes:
        created: when the last network was finished.
    """

    def __init__(self, stored: StoredResults, *, fresh: bool, on_saved: Callable[[int], None]) -> None:
        self._stored, self._on_saved = stored, on_saved
        self._overwrite = fresh  # ignore what is there; the first `save` overwrites it
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
        self._on_saved(len(results))
        return results

    def save(self, key: EvaluationKey, results: NetworkResults) -> None:
        self._trained = frozenset(results)
        self._stored.save(key, results, overwrite=self._overwrite)
        self._overwrite = False
        self.report_saved()

    def report_saved(self) -> None:
        """Call `on_saved` with the number of networks that are saved now."""
        if self._key is not None:
            saved = self._read(self._key)
            self._on_saved(len(self._trained & saved.keys() if self.has_trained else saved))

    def _read(self, key: EvaluationKey) -> NetworkResults:
        results, self.created = ({}, now()) if self._overwrite else self._stored.read(key)
        return results


def _is_recorded(store: registry.Store, result: Evaluation) -> bool:
    """Return whether a record has the same accuracies of the same network."""
    same = json.loads(canonical({"accuracies": result.accuracies, "network": result.network}))
    records = store.evaluations(result.digest)
    return any(all(record.get(name) == value for name, value in same.items()) for record in records)
