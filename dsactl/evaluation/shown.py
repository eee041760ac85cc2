"""Evaluations of a set in words, and the one that a list of sets shows. Importing this loads no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from dsactl.networks.catalogue import ARCHITECTURES
from dsactl.paper import EPOCHS_AUGMENTED, EPOCHS_PLAIN
from dsactl.text.formatting import accuracy, augmentation, many, protocol_name
from dsactl.training.protocols import DSA, NAMED
from registry.index import Entry


def accuracy_in_words(entry: Entry) -> tuple[str, str, str]:
    """Return the accuracy, n, and the network with deviations from the usual training."""
    record = best_of(entry.evaluations, entry.network)
    if record is None:
        return "–", "", ""
    unusual = "" if _is_usual(record) else f", {many(record.get('epochs'), 'epoch')}"
    other = "" if record.get("own_augmentation", True) else f", augmentation {record.get('augmentation')}"
    other = f", protocol {name}" if (name := protocol_name(record)) else other
    numbers = "".join(f", {each}" for each in _unusual(record))
    return accuracy(record), str(record.get("n", "?")), f"{record.get('network', '?')}{unusual}{other}{numbers}"


def training(record: Mapping[str, Any]) -> str:
    """Format how networks were trained, but for the epochs: augmentation, protocol, and SGD where it is not its."""
    return ", ".join([augmentation(record), *_unusual(record)])


def _unusual(record: Mapping[str, Any]) -> list[str]:
    """Return what is not the protocol's, SGD's numbers and CutMix, which its authors may leave out for some sets."""
    return [*_unusual_numbers(record), *_unusual_cutmix(record)]


def _unusual_numbers(record: Mapping[str, Any]) -> list[str]:
    """Return the numbers of SGD that are not the protocol's: ["lr 0.05"]."""
    protocol, named = record.get("protocol"), NAMED.get(protocol_name(record), DSA)
    known = protocol if isinstance(protocol, Mapping) else {}
    usual = {"lr": named.lr, "momentum": named.momentum, "weight_decay": named.weight_decay, "batch": named.batch}
    return [f"{name.replace('_', ' ')} {known[name]}" for name in usual if known.get(name, usual[name]) != usual[name]]


def _unusual_cutmix(record: Mapping[str, Any]) -> list[str]:
    """Return CutMix where it is not that of the protocol: ["without CutMix"]."""
    protocol, named = record.get("protocol"), NAMED.get(protocol_name(record), DSA)
    probability = protocol.get("cutmix", 0.0) if isinstance(protocol, Mapping) else named.cutmix
    if probability == named.cutmix:
        return []
    return [f"CutMix {probability}" if probability else "without CutMix"]


def _is_usual(record: dict[str, Any]) -> bool:
    """Return whether the training epochs are the paper's, which depend on augmentation."""
    plain = record.get("augmentation") == "none"
    return record.get("epochs") == (EPOCHS_PLAIN if plain else EPOCHS_AUGMENTED)


def mean_accuracy(entry: Entry) -> float:
    """Return the accuracy shown in the list, or -1 if there is none."""
    record = best_of(entry.evaluations, entry.network)
    mean = record.get("mean") if record else None
    return float(mean) if isinstance(mean, int | float) else -1.0


def best_of(records: Sequence[dict[str, Any]], network: str | None) -> dict[str, Any] | None:
    """Return the evaluation to show; None if there is none.

    Criteria in this order: the set's own augmentation, the protocol dsa or dc, the protocol's learning rate, momentum,
    weight decay and batch, the paper's epochs, the set's own network, most networks, latest date.

    Args:
        records: of a set.
        network: the set's own; None if there is none.
    """
    if len(records) <= 1:
        return next(iter(records), None)
    own = network or "convnet"
    twin = ARCHITECTURES[own].twin if own in ARCHITECTURES else None

    def weight(record: dict[str, Any]) -> tuple[bool, bool, bool, bool, bool, int, str]:
        n = record.get("n")
        return (
            bool(record.get("own_augmentation", True)),
            not protocol_name(record),
            not _unusual_numbers(record),
            _is_usual(record),
            record.get("network") in (own, twin),
            n if isinstance(n, int) else 0,
            str(record.get("created", "")),
        )

    return max(records, key=weight)
