"""What a protocol means for a set: the network, the augmentation, the epochs, and the key of the results."""

import torch

from dsactl.augmentation.dc import augment_for_dc
from dsactl.augmentation.packed import Augmenter
from dsactl.augmentation.strategy import parse_strategy
from dsactl.data.dataset import Dataset
from dsactl.data.views import base_name
from dsactl.engine.device import describe, resolve_precision
from dsactl.engine.native import library
from dsactl.engine.random import derive_seed
from dsactl.errors import DataError
from dsactl.evaluation.cache import EvaluationKey
from dsactl.evaluation.protocol import DC, Protocol
from dsactl.evaluation.task import Networks, is_fused
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import EPOCHS_AUGMENTED, EPOCHS_PLAIN
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic.full_data import usual_epochs
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.sgd import Augment, Plan


def check_matches(synthetic: SyntheticSet, dataset: Dataset) -> None:
    """Check that a set was made from the training images of a dataset.

    Raises:
        DataError: it was not.
    """
    hint = "Point at the same data, with the same `image_size`, `test_fraction` and `split_seed`."
    if tuple(synthetic.images.shape[1:]) != (dataset.channels, *dataset.size):
        raise DataError(f"{synthetic.reference} and {dataset.name} have images of different shapes.", hint)
    if dataset.train.checksum() != synthetic.recipe.checksum:
        raise DataError(
            f"The training images of {dataset.name} are not those that {synthetic.reference} was made from.", hint
        )


def evaluated_network(synthetic: SyntheticSet, protocol: Protocol) -> NetworkSpec:
    """Return the network of the protocol, or else the set's own with instance norm in place of batch norm."""
    return protocol.network or (synthetic.recipe.network or NetworkSpec()).instance_twin


def augmentation_of(synthetic: SyntheticSet, protocol: Protocol) -> tuple[str, Augment | None]:
    """Return the name of the augmentation of training batches, and its function; None without augmentation."""
    recipe = synthetic.recipe
    if protocol.strategy == DC or (protocol.strategy is None and recipe.method == "dc" and not recipe.strategy):
        return (DC, augment_for_dc) if base_name(recipe.dataset) == "mnist" else ("none", None)
    strategy = synthetic.strategy if protocol.strategy is None else parse_strategy(protocol.strategy)
    if not strategy:
        return "none", None
    return "dsa " + " ".join(strategy), Augmenter(strategy, synthetic.size)


def training_epochs(synthetic: SyntheticSet, protocol: Protocol, images: int) -> int:
    """Return the epochs of training on a set like this one that has `images` images."""
    if protocol.epochs is not None:
        return protocol.epochs
    if synthetic.recipe.method == WHOLE:
        return usual_epochs(images, protocol.batch)
    return EPOCHS_PLAIN if augmentation_of(synthetic, protocol)[1] is None else EPOCHS_AUGMENTED


def resolve_networks(synthetic: SyntheticSet, dataset: Dataset, protocol: Protocol, device: torch.device) -> Networks:
    """Resolve the networks of an evaluation and their training.

    Raises:
        DeviceError: the device does not have the precision.
    """
    epochs = training_epochs(synthetic, protocol, len(synthetic))
    plan = Plan(
        epochs,
        protocol.lr,
        protocol.momentum,
        protocol.weight_decay,
        protocol.batch,
        decay_at=epochs // 2 if epochs > 1 else None,
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
        seed=protocol.seed,
        test_images=len(dataset.test),
        test_checksum=dataset.test.checksum(),
        device=describe(device, threads),
        native=fused and library() is not None,
        normalisation=(synthetic.mean, synthetic.std),
    )
