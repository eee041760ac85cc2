"""The evaluation protocol (Section 4.1): n networks trained from scratch on a set, each tested once, at the end.

Shapes: N images, C, H, W, K classes, M networks side by side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from typing import Protocol as Interface

import torch

from dsactl import __version__
from dsactl.augmentation.dc import augment_for_dc
from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import parse_strategy
from dsactl.data.dataset import Dataset
from dsactl.data.views import base_name
from dsactl.engine.device import describe, prepare_device, resolve_precision
from dsactl.engine.native import library
from dsactl.engine.random import derive_seed
from dsactl.engine.tasks import Failure, InProcess, Task, Workers
from dsactl.errors import DataError, RunError
from dsactl.evaluation.protocol import DC, Evaluation, Protocol
from dsactl.evaluation.task import Networks, is_fused, train_and_test
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import (
    EPOCHS_AUGMENTED,
    EPOCHS_PLAIN,
    Figure,
    paper_accuracy,
    whole_accuracy,
)
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic.full_data import usual_epochs
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.sgd import Augment, Plan

Conditions = dict[str, Any]
"""Everything that decides what accuracy each network has, by the names of `Evaluation`'s attributes."""

Reached = dict[int, tuple[float, float]]
"""Accuracy in percent and seconds of networks, by their numbers from 0."""

REVISION = 3
"""To be raised when a change of the program changes what accuracy a network has: then nothing kept is used."""


class Kept(Interface):
    """Where the accuracies of finished networks are kept, so that no network is trained twice."""

    def load(self, conditions: Conditions) -> Reached:
        """What networks reached under these conditions."""

    def save(self, conditions: Conditions, networks: Reached) -> None:
        """Keep what `load` is to give."""


def evaluated_network(synthetic: SyntheticSet, protocol: Protocol) -> NetworkSpec:
    """The network that a protocol trains on a set: the one it names, or the instance-norm twin of the set's own."""
    return protocol.network or (synthetic.recipe.network or NetworkSpec()).instance_twin


def evaluate(
    synthetic: SyntheticSet,
    dataset: Dataset,
    protocol: Protocol,
    device: torch.device,
    report: Callable[[float], None] = lambda networks: None,
    kept: Kept | None = None,
    workers: Workers | None = None,
) -> Evaluation:
    """Train n networks on a set and test each once on the whole test split.

    Args:
        synthetic: the set.
        dataset: what it stands for; only its test images are used.
        protocol: see `Protocol`.
        device: where to compute.
        report: called after every epoch with the number of networks done, a fraction for those in training.
        kept: gives the networks that were finished earlier, and takes those that are finished now; None for neither.
        workers: who trains the networks; None for this process.

    Raises:
        DataError: the data set is not the one that the set was made from.
        NetworkError: the network cannot take the images.
        RunError: a worker died again and again.
    """
    recipe = synthetic.recipe
    if tuple(synthetic.images.shape[1:]) != (dataset.channels, *dataset.size):
        raise DataError(f"{synthetic.reference} and {dataset.name} have images of different shapes.")
    if dataset.train.checksum() != recipe.checksum:
        raise DataError(
            f"The training images of {dataset.name} are not those that {synthetic.reference} was made from.",
            "Point at the same data, with the same --image-size, --test-fraction and --split-seed.",
        )
    precision = resolve_precision(protocol.precision, device)
    prepare_device(device)
    spec = evaluated_network(synthetic, protocol).resolve(dataset.channels, dataset.size)
    label = spec.label(dataset.channels, dataset.size)
    augmentation, augment_batch = augmentation_of(synthetic, protocol)
    epochs = training_epochs(synthetic, protocol, len(synthetic))
    plan = Plan(
        epochs,
        protocol.lr,
        protocol.momentum,
        protocol.weight_decay,
        protocol.batch,
        decay_at=epochs // 2 if epochs > 1 else None,
        precision=precision,
    )
    # Networks of several sets are drawn independently, so that their accuracies can be pooled.
    seed = derive_seed(protocol.seed, f"evaluation of {synthetic.digest}")
    networks = Networks(synthetic, dataset, spec, plan, augment_batch, seed)
    together = networks.side_by_side(device)
    who = (workers or InProcess()).suited(protocol.networks)
    conditions: Conditions = {
        "digest": synthetic.digest,
        "network": label,
        "epochs": epochs,
        "augmentation": augmentation,
        "protocol": {
            "lr": protocol.lr,
            "momentum": protocol.momentum,
            "weight_decay": protocol.weight_decay,
            "batch": protocol.batch,
            "precision": precision,
            "seed": protocol.seed,
        },
        "test_images": len(dataset.test),
        "test_checksum": dataset.test.checksum(),
        "device": describe(device, who.threads),
        "program": f"dsactl {__version__}",
        "torch": torch.__version__,
    }
    # What decides the accuracies beside the conditions that are recorded: the layers, what test images are normalised
    # by, and this program's own ways.
    native = is_fused(together, device) and library() is not None
    normalisation = [synthetic.mean, synthetic.std]
    decisive = {**conditions, "native": native, "normalisation": normalisation, "revision": REVISION}
    earlier = kept.load(decisive) if kept else {}
    found = {number: earlier[number] for number in range(protocol.networks) if number in earlier}
    left = [number for number in range(protocol.networks) if number not in found]
    groups = _neighbours(left, who.groups(len(left), together)) if left else []
    tasks = [Task(_called(each), train_and_test, (each, who.place(device)), len(each)) for each in groups]
    known = len(found)

    def tell(share: float, _doing: str) -> None:
        report(known + len(left) * share)

    failed: list[str] = []
    for task, result in who.run(networks, tasks, tell) if tasks else ():
        if isinstance(result, Failure):
            failed.append(f"{label}, {task.name} given up: {result.message}.")
            continue
        found |= zip(task.arguments[0], result, strict=True)
        if kept:
            kept.save(decisive, found)
    if failed:
        raise RunError(" ".join(failed), "The same command (without --fresh) tries them again; all others are kept.")
    done = [found[number] for number in range(protocol.networks)]
    return Evaluation(
        reference=synthetic.reference,
        accuracies=tuple(accuracy for accuracy, _ in done),
        seconds=math.fsum(seconds for _, seconds in done),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        twin=protocol.network is None and recipe.network is not None and recipe.network.has_batch_norm,
        own_augmentation=augmentation == augmentation_of(synthetic, replace(protocol, strategy=None))[0],
        paper=_paper(synthetic, protocol, label),
        **conditions,
    )


def _neighbours(numbers: Sequence[int], most: int) -> list[range]:
    """Numbers in their order as ranges, of `most` at most."""
    ranges: list[range] = []
    for number in numbers:
        if ranges and ranges[-1].stop == number and len(ranges[-1]) < most:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return ranges


def _called(indices: range) -> str:
    first, last = indices.start + 1, indices.stop
    return f"network {first}" if first == last else f"networks {first} to {last}"


def training_epochs(synthetic: SyntheticSet, protocol: Protocol, images: int) -> int:
    """For how many epochs a protocol trains on a set that is like this one and has so many images."""
    if protocol.epochs is not None:
        return protocol.epochs
    if synthetic.recipe.method == WHOLE:
        return usual_epochs(images, protocol.batch)
    return EPOCHS_PLAIN if augmentation_of(synthetic, protocol)[1] is None else EPOCHS_AUGMENTED


def _paper(synthetic: SyntheticSet, protocol: Protocol, label: str) -> Figure | None:
    recipe = synthetic.recipe
    if recipe.method == WHOLE:
        return whole_accuracy(recipe.dataset) if label == "convnet" and protocol.is_papers else None
    is_whole = len(synthetic) == recipe.ipc * len(synthetic.class_names)  # and no part of it
    if not (is_whole and recipe.is_papers and protocol.is_of(recipe.method)):
        return None
    return paper_accuracy(recipe.dataset, recipe.ipc, recipe.method, recipe.network_label, label)


def augmentation_of(synthetic: SyntheticSet, protocol: Protocol) -> tuple[str, Augment | None]:
    """What batches are augmented with, in words and as a function; None for nothing."""
    recipe = synthetic.recipe
    if protocol.strategy == DC or (protocol.strategy is None and recipe.method == "dc" and not recipe.strategy):
        return (DC, augment_for_dc) if base_name(recipe.dataset) == "mnist" else ("none", None)
    strategy = synthetic.strategy if protocol.strategy is None else parse_strategy(protocol.strategy)
    if not strategy:
        return "none", None
    return "dsa " + " ".join(strategy), Augmenter(strategy, synthetic.size)
