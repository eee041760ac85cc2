"""A cache of the accuracies of trained networks, shared by `evaluate`, the studies and `nas`.

It lies in the store's home, with one file for each set and way to train networks on it:

    runs/evaluations/KEY.json      accuracy and seconds of each network so far, and when the last was finished

A network that is finished survives an interruption and is never trained twice. Several processes may write the same
file: their results are merged. Records of the registry are not used, since they may have come with a set from
elsewhere.

The networks of `continual` are not in it: they learn a sequence of tasks, so a result depends on all steps before it,
and the next step needs the weights. `continual.run` keeps both.
"""

import contextlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypedDict

import torch

import registry
from dsactl import __version__
from dsactl.evaluation.protocol import NetworkResult
from dsactl.training.protocols import DC, DSA
from dsactl.training.sgd import Plan
from registry.files import write_atomically
from registry.manifest import canonical, key_of

REVISION = 3
"""Raise this when a change of the program changes the accuracies of networks: then no earlier result is used."""

NetworkResults = dict[int, NetworkResult]
"""Results of networks by their numbers, from 0."""


class Conditions(TypedDict):
    """The part of an evaluation's key that is recorded: attributes of `Evaluation`."""

    digest: str
    network: str
    epochs: int
    augmentation: str
    protocol: dict[str, float | int | str]
    test_images: int
    test_checksum: str
    device: str
    program: str
    torch: str


@dataclass(frozen=True)
class EvaluationKey:
    """Everything that decides the accuracy of each network of an evaluation, except the network's number.

    Attributes:
        digest: of the set.
        network: label of the network.
        plan: of the training, with epochs and precision resolved.
        augmentation: of the training, as `resolve.augmentation_of` names it.
        protocol: the name of the protocol.
        seed: of the protocol.
        test_images, test_checksum: number of test images, and SHA-256 of them and their labels.
        device: as `engine.device.describe` names it, with the number of threads of a CPU.
        native: whether the networks are trained with this program's own compiled layers.
        normalisation: means and standard deviations of the channels, by which test images are normalised.
        program, torch_version: of dsactl and torch.
        revision: see `REVISION`.
    """

    digest: str
    network: str
    plan: Plan
    augmentation: str
    seed: int
    test_images: int
    test_checksum: str
    device: str
    native: bool
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    program: str = f"dsactl {__version__}"
    torch_version: str = torch.__version__
    revision: int = REVISION
    protocol: str = DSA.name

    @property
    def conditions(self) -> Conditions:
        """What a record says of them."""
        return {
            "digest": self.digest,
            "network": self.network,
            "epochs": self.plan.epochs,
            "augmentation": self.augmentation,
            "protocol": {
                "lr": self.plan.lr,
                "momentum": self.plan.momentum,
                "weight_decay": self.plan.weight_decay,
                "batch": self.plan.batch,
                "precision": self.plan.precision,
                "seed": self.seed,
                **self._beyond_dsa(),
            },
            "test_images": self.test_images,
            "test_checksum": self.test_checksum,
            "device": self.device,
            "program": self.program,
            "torch": self.torch_version,
        }

    def _beyond_dsa(self) -> dict[str, float | int | str]:
        """Return what protocols may have in another way than dsa and dc, whose records do not state it."""
        beyond: dict[str, float | int | str] = {}
        if self.protocol not in (DSA.name, DC.name):
            beyond["name"] = self.protocol
        if self.plan.schedule != DSA.schedule(self.plan.epochs):
            beyond["schedule"] = str(self.plan.schedule)
        if self.plan.cutmix:
            beyond["cutmix"] = self.plan.cutmix
        return beyond

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; their digest names the file."""
        own = {"native": self.native, "normalisation": self.normalisation, "revision": self.revision}
        return {**self.conditions, **own}


class ResultCache(Protocol):
    """Where results of finished networks are saved."""

    def load(self, key: EvaluationKey) -> NetworkResults:
        """Return the results that were saved under a key."""

    def save(self, key: EvaluationKey, results: NetworkResults) -> None:
        """Save results for `load`."""


class StoredResults(ResultCache):
    """The results in the home of a store."""

    def __init__(self, store: registry.Store) -> None:
        self._store = store

    def load(self, key: EvaluationKey) -> NetworkResults:
        """Return the results of a file; none if it is missing or damaged."""
        return self.read(key)[0]

    def read(self, key: EvaluationKey) -> tuple[NetworkResults, str]:
        """Return the results of a file, and when the last of them was finished: now, if there are none."""
        results, value = _read(self.path(key))
        return (results, value["created"]) if value else ({}, now())

    def on_another_device(self, key: EvaluationKey, *, any_precision: bool) -> tuple[NetworkResults, str]:
        """Return the results of the file with the most networks of those that differ from a key in the device only.

        Args:
            key: of the results on its own device.
            any_precision: whether the precision may differ too.

        Returns:
            The results, and the device; none and "" without such a file.
        """

        def alike(conditions: dict[str, Any]) -> dict[str, Any]:
            kept = {name: value for name, value in conditions.items() if name not in ("device", "native")}
            return kept | {"protocol": {**kept["protocol"], "precision": None}} if any_precision else kept

        found, where, wanted = NetworkResults(), "", alike(json.loads(canonical(key.to_dict())))
        for path in sorted(self.path(key).parent.glob("*.json")):
            results, value = _read(path)
            with contextlib.suppress(TypeError, KeyError, AttributeError):
                if len(results) > len(found) and alike(value["conditions"]) == wanted:
                    found, where = results, str(value["conditions"]["device"])
        return found, where

    def save(self, key: EvaluationKey, results: NetworkResults, *, fresh: int = 0) -> None:
        """Add results to a file, in place of earlier ones of the same networks.

        Args:
            key: of the file.
            results: by number of the network.
            fresh: number of networks, from 0 on, whose earlier results are dropped.

        Raises:
            registry.StoreError: the store cannot be written to.
        """
        with self._store.writing():
            earlier = {number: result for number, result in self.load(key).items() if number >= fresh}
            merged = earlier | results
            networks = {str(number): result for number, result in sorted(merged.items())}
            value = {"conditions": key.to_dict(), "created": now(), "networks": networks}
            write_atomically(self.path(key), canonical(value))

    def path(self, key: EvaluationKey) -> Path:
        """Return the path of a key's file."""
        return self._store.home / "runs" / "evaluations" / f"{key_of(key.to_dict())}.json"


def _read(path: Path) -> tuple[NetworkResults, dict[str, Any]]:
    """Return the results in a file, and all that is in it; nothing if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        value = json.loads(path.read_bytes())
        results = {
            int(number): NetworkResult(_finite(accuracy), _finite(seconds))
            for number, (accuracy, seconds) in dict.items(value["networks"])
        }
        return results, {**value, "created": str(value["created"])}
    return {}, {}


def _finite(number: Any) -> float:
    if not math.isfinite(number):
        raise ValueError("not finite")
    return float(number)


def now() -> str:
    """Return the time in UTC, ISO 8601, so fine that results made one after the other sort in that order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
