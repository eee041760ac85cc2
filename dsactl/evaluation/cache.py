"""What was measured is kept: networks that are finished survive an interruption, and none is trained twice.

What this machine measured lies beside its runs in the store's home, under a key of everything that decides a network's
accuracy. Several processes may measure the same, and what each has finished is kept. Records of the registry are not
trusted for this: they may have come with a set from elsewhere.

    runs/evaluations/KEY.json      accuracy and seconds of each network so far, and when the last was finished
"""

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.tasks import Workers
from dsactl.evaluation.evaluate import Conditions, Kept, Reached, evaluate
from dsactl.evaluation.protocol import Evaluation, Protocol
from dsactl.synthetic.synthetic_set import SyntheticSet
from registry.files import write_atomically
from registry.manifest import canonical, key_of


def measure(
    store: registry.Store,
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    device: torch.device,
    report: Callable[[float], None] = lambda networks: None,
    *,
    fresh: bool = False,
    keeping: Callable[[int], None] = lambda networks: None,
    workers: Workers | None = None,
) -> Evaluation:
    """Evaluate a set and keep the record; or find it measured already, wholly or in part.

    Args:
        store: keeps records and unfinished evaluations.
        synthetic, dataset, protocol, device, report: as of `evaluation.evaluate`.
        fresh: train every network anew.
        keeping: told how many networks are kept, whatever happens next.
        workers: who trains the networks; None for this process.

    Raises:
        DsactlError: as of `evaluation.evaluate`.
        registry.StoreError: the store cannot be written to.
    """
    store.check_writable()
    kept = _InStore(store, fresh=fresh, keeping=keeping)
    try:
        result = evaluate(synthetic, dataset, protocol, device, report, kept, workers)
    except KeyboardInterrupt:  # it may have come between the writing of a network and its telling
        kept.tell()
        raise
    result = replace(result, created=kept.created)
    if not kept.has_trained and _is_recorded(store, result):
        return replace(result, repeated=True)
    store.add_evaluation(synthetic.digest, result.to_dict())
    return result


def _is_recorded(store: registry.Store, result: Evaluation) -> bool:
    """Whether just these networks have a record."""
    same = json.loads(canonical({"accuracies": result.accuracies, "network": result.network}))
    records = store.evaluations(result.digest)
    return any(all(record.get(name) == value for name, value in same.items()) for record in records)


class _InStore(Kept):
    """Finished networks in a store's home."""

    def __init__(self, store: registry.Store, *, fresh: bool, keeping: Callable[[int], None]) -> None:
        self._store, self._fresh, self._keeping = store, fresh, keeping
        self._conditions: Conditions | None = None
        self._wanted: frozenset[int] = frozenset()
        self.has_trained = False
        self.created = _now()

    def tell(self) -> None:
        """Tell how many networks are kept now."""
        if self._conditions is not None:
            found, _ = self._read(self._conditions)
            self._keeping(len(self._wanted & found.keys() if self.has_trained else found))

    def load(self, conditions: Conditions) -> Reached:
        self._conditions = conditions
        found, self.created = self._read(conditions)
        self._keeping(len(found))
        return found

    def save(self, conditions: Conditions, networks: Reached) -> None:
        self.has_trained, self.created, self._wanted = True, _now(), frozenset(networks)
        value: dict[str, Any] = {"conditions": conditions, "created": self.created}
        with self._store.writing():
            every = sorted((self._read(conditions)[0] | networks).items())
            value["networks"] = {str(number): reached for number, reached in every}
            write_atomically(self._place(conditions), canonical(value))
            self._fresh = False
        self.tell()

    def _read(self, conditions: Conditions) -> tuple[Reached, str]:
        """What is there, and when the last of it was finished. What a fresh evaluation finds is nothing to it."""
        if not self._fresh:
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                value = json.loads(self._place(conditions).read_bytes())
                found = {
                    int(number): (_finite(accuracy), _finite(seconds))
                    for number, (accuracy, seconds) in dict.items(value["networks"])
                }
                return found, str(value["created"])
        return {}, _now()

    def _place(self, conditions: Conditions) -> Path:
        folder = self._store.home / "runs" / "evaluations"
        return folder / f"{key_of(conditions)}.json"


def _finite(number: Any) -> float:
    if not math.isfinite(number):
        raise ValueError("not a number that was measured")
    return float(number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
