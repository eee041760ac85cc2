"""What a protocol means for a set: the network, the augmentation, the epochs, and the key of the results."""

from dataclasses import replace

import torch

from dsactl.data.dataset import Dataset
from dsactl.engine.device import describe, resolve_precision
from dsactl.engine.native import library
from dsactl.engine.random import derive_seed
from dsactl.errors import DataError, UsageError
from dsactl.evaluation.cache import EvaluationKey
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.task import Networks, is_fused
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import EPOCHS_AUGMENTED, EPOCHS_PLAIN
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic.full_data import usual_epochs
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.synthetic.training_batches import augmentation_by
from dsactl.training.protocols import NamedProtocol
from dsactl.training.sgd import Augment, Plan


def check_matches(synthetic: SyntheticSet, dataset: Dataset) -> None:
    """Check that a set was made from the training images of a dataset, and has soft labels of its classes, if any.

    Raises:
        DataError: it was not, or has others.
    """
    hint = "Point at the same data, with the same `image_size`, `test_fraction` and `split_seed`."
    if tuple(synthetic.images.shape[1:]) != (dataset.channels, *dataset.size):
        raise DataError(f"{synthetic.reference} and {dataset.name} have images of different shapes.", hint)
    if dataset.train.checksum() != synthetic.recipe.checksum:
        raise DataError(
            f"The training images of {dataset.name} are not those that {synthetic.reference} was made from.", hint
        )
    soft, expected = synthetic.soft_labels, (len(synthetic), dataset.classes)
    if soft is not None and tuple(soft.shape) != expected:
        raise DataError(
            f"The soft labels of {synthetic.reference} are {'×'.join(map(str, soft.shape))} numbers, not "
            f"{expected[0]}×{expected[1]}.",
            f"Give each image a distribution over the {dataset.classes} classes of {dataset.name}.",
        )


def check_protocol(synthetic: SyntheticSet, protocol: Protocol, device: torch.device) -> None:
    """Refuse a protocol by which no network can be trained on a set, before its dataset is loaded.

    Args:
        synthetic: the set.
        protocol: of the evaluation.
        device: where the networks are to be trained.

    Raises:
        DeviceError: the device does not have the precision.
        UsageError: the protocol needs a learning rate that was learned with the set.
        NetworkError: the network cannot take the images.
    """
    resolve_precision(protocol.precision, device)
    learning_rate(protocol.resolve(synthetic.recipe), synthetic.reference)
    channels, size = synthetic.images.shape[1], synthetic.size
    structure(evaluated_network(synthetic, protocol), channels, size, len(synthetic.class_names))


def learning_rate(named: NamedProtocol, reference: str) -> float:
    """Return the learning rate of a protocol.

    Args:
        named: the protocol, with the numbers of the evaluation.
        reference: of the set, for the message.

    Raises:
        UsageError: it needs one that was learned with the set.
    """
    if named.lr is None:
        raise UsageError(
            f"The protocol {named.name!r} trains with a learning rate that was learned with the set, and "
            f"{reference} has none.",
            'Use `lr=0.01` or another rate, or `protocol="dsa"`.',
        )
    return named.lr


def evaluated_network(synthetic: SyntheticSet, protocol: Protocol) -> NetworkSpec:
    """Return the network of the protocol, or else the set's own with instance norm in place of batch norm."""
    return protocol.network or (synthetic.recipe.network or NetworkSpec()).instance_twin


def augmentation_of(synthetic: SyntheticSet, protocol: Protocol) -> tuple[str, Augment | None]:
    """Return the name of the augmentation of training batches, and its function; None without augmentation."""
    return augmentation_by(protocol.resolve(synthetic.recipe), synthetic.recipe, synthetic.size)


def is_own_augmentation(synthetic: SyntheticSet, protocol: Protocol) -> bool:
    """Return whether a protocol augments training batches as the one that the set was made for."""

    def augmentation(given: Protocol) -> tuple[str, float]:
        return augmentation_of(synthetic, given)[0], given.resolve(synthetic.recipe).cutmix

    return augmentation(protocol) == augmentation(replace(protocol, name=None, strategy=None))


def training_epochs(synthetic: SyntheticSet, protocol: Protocol, images: int) -> int:
    """Return the epochs of training on a set like this one that has `images` images."""
    named = protocol.resolve(synthetic.recipe)
    if synthetic.recipe.method == WHOLE:
        return protocol.epochs or usual_epochs(images, named.batch)
    if named.epochs is not None:
        return named.epochs
    return EPOCHS_PLAIN if augmentation_of(synthetic, protocol)[1] is None else EPOCHS_AUGMENTED


def resolve_networks(synthetic: SyntheticSet, dataset: Dataset, protocol: Protocol, device: torch.device) -> Networks:
    """Resolve the networks of an evaluation and their training.

    Raises:
        DeviceError: the device does not have the precision.
        UsageError: the protocol needs a learning rate that was learned with the set.
    """
    epochs, named = training_epochs(synthetic, protocol, len(synthetic)), protocol.resolve(synthetic.recipe)
    plan = Plan(
        epochs,
        learning_rate(named, synthetic.reference),
        named.momentum,
        named.weight_decay,
        named.batch,
        schedule=named.schedule(epochs),
        cutmix=named.cutmix,
        precision=resolve_precision(protocol.precision, device),
    )
    network = evaluated_network(synthetic, protocol).resolve(dataset.channels, dataset.size)
    # Networks of several sets are drawn independently, so that their accuracies can be pooled.
    seed = derive_seed(protocol.seed, f"evaluation of {synthetic.digest}")
    return Networks(synthetic, dataset, network, plan, augmentation_of(synthetic, protocol)[1], seed)


def evaluation_key(
    networks: Networks, protocol: Protocol, device: torch.device, threads: int | None = None
) -> EvaluationKey:
    """Return the key of the results of an evaluation's networks.

    Args:
        networks: from `resolve_networks`, with the same protocol.
        protocol: of the evaluation.
        device: where the networks are trained.
        threads: of each task on a CPU; None for those of this process.

    Raises:
        NetworkError: the network cannot take the images.
    """
    synthetic, dataset = networks.synthetic, networks.dataset
    fused = device.type == "cpu" and is_fused(networks.side_by_side(device), device)
    return EvaluationKey(
        digest=synthetic.digest,
        network=networks.network.label(dataset.channels, dataset.size),
        plan=networks.plan,
        augmentation=augmentation_of(synthetic, protocol)[0],
        protocol=protocol.resolve(synthetic.recipe).name,
        seed=protocol.seed,
        test_images=len(dataset.test),
        test_checksum=dataset.test.checksum(),
        device=describe(device, threads),
        native=fused and library() is not None,
        normalisation=(synthetic.mean, synthetic.std),
    )
