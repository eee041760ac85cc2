"""What was measured is kept: networks that are finished survive an interruption, and none is trained twice.

Unfinished evaluations lie beside unfinished runs in the store's home:

    runs/evaluations/KEY.json      the conditions, accuracies of the networks so far, the seconds that they took
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.evaluation import Conditions, Evaluation, Kept, Protocol, evaluate
from dsactl.synthetic import SyntheticSet
from registry.files import write_atomically
from registry.manifest import canonical

Report = Callable[[float], None]


def measure(
    store: registry.Store,
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    device: torch.device,
    report: Report = lambda networks: None,
    *,
    fresh: bool = False,
) -> Evaluation:
    """Evaluate a set and keep the record; or find it measured already, wholly or in part.

    Args:
        store: keeps records and unfinished evaluations.
        synthetic, dataset, protocol, device, report: as of `evaluation.evaluate`.
        fresh: train every network anew.

    Raises:
        DsactlError: as of `evaluation.evaluate`.
        registry.StoreError: the store cannot be written to.
    """
    store.check_writable()
    kept = _InStore(store, fresh=fresh)
    result = evaluate(synthetic, dataset, protocol, device, report, kept)
    before = kept.whole(result)
    if before is not None:
        return before
    store.add_evaluation(synthetic.digest, result.to_dict())
    kept.forget()
    return result


class _InStore(Kept):
    """Finished networks in a store: those of its records, and of evaluations that were interrupted."""

    def __init__(self, store: registry.Store, *, fresh: bool) -> None:
        self._store, self._fresh = store, fresh
        self._records: list[dict[str, Any]] = []
        self._path: Path | None = None

    def load(self, conditions: Conditions) -> tuple[list[float], float]:
        self._path = self._place(conditions)
        if self._fresh:
            return [], 0.0
        records: list[dict[str, Any]] = self._store.evaluations(conditions["digest"])
        self._records = [record for record in records if _under(record, conditions)]
        same = list(self._records)
        with contextlib.suppress(OSError, ValueError):
            unfinished = json.loads(self._path.read_bytes())
            if _under(unfinished, conditions):
                same.append(unfinished)
        if not same:
            return [], 0.0
        longest = max(same, key=lambda record: len(record["accuracies"]))
        return list(longest["accuracies"]), float(longest["seconds"])

    def save(self, conditions: Conditions, accuracies: list[float], seconds: float) -> None:
        value = {**conditions, "accuracies": accuracies, "seconds": seconds}
        write_atomically(self._place(conditions), canonical(value))

    def forget(self) -> None:
        """An evaluation is recorded: what was kept of it meanwhile is not needed any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def whole(self, result: Evaluation) -> Evaluation | None:
        """The record that has just these accuracies already, if there is one."""
        names = {field.name for field in fields(Evaluation)} - {"repeated"}
        for record in self._records:
            if record["accuracies"] == list(result.accuracies) and names <= set(record):
                values = {**{name: record[name] for name in names}, "accuracies": result.accuracies}
                return Evaluation(**{**values, "paper": result.paper}, repeated=True)
        return None

    def _place(self, conditions: Conditions) -> Path:
        key = hashlib.sha256(canonical(conditions)).hexdigest()[:32]
        return self._store.home / "runs" / "evaluations" / f"{key}.json"


def _under(record: Any, conditions: Conditions) -> bool:
    """Whether a record was measured under these conditions, and has accuracies."""
    return (
        isinstance(record, dict)
        and all(record.get(name) == value for name, value in conditions.items())
        and isinstance(record.get("accuracies"), list)
        and isinstance(record.get("seconds"), int | float)
    )
