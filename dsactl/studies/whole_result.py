"""The result of networks that were trained on a whole training split, if it is in the cache, and how to get it."""

from dataclasses import asdict, replace

from dsactl.data.dataset import Dataset
from dsactl.engine.session import Session
from dsactl.evaluation.cache import EvaluationKey, NetworkResults, StoredResults
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.resolve import evaluation_key, resolve_networks
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.comparison import WHOLE, Group
from dsactl.studies.random_sets import Compared
from dsactl.synthetic.full_data import whole_without_images
from dsactl.synthetic.synthetic_set import SyntheticSet
from dsactl.training.protocols import DSA

_CHANGED = ("lr", "momentum", "weight_decay", "batch", "strategy", "seed", "precision")


def stored_whole(
    dataset: Dataset, protocol: Protocol, session: Session
) -> tuple[SyntheticSet, EvaluationKey, NetworkResults]:
    """Return all training images as a set without images, the key of its networks, and their cached results.

    Args:
        dataset: of the training and the test images.
        protocol: with name, network and augmentation. Its epochs are not used: a whole dataset has its own.
        session: has the store with the cache.
    """
    whole, protocol = whole_without_images(dataset), replace(protocol, epochs=None)
    networks = resolve_networks(whole, dataset, protocol, session.device)
    key = evaluation_key(networks, protocol, session.device, session.executor.choose(protocol.networks).threads)
    return whole, key, StoredResults(session.store).load(key)


def whole_group(compared: Compared, protocol: Protocol, session: Session) -> tuple[Group | None, list[str]]:
    """Return the group of the whole training split, with all networks whose results are cached; None without any.

    Results on this device are preferred to those on another, or by other numbers of threads, which differ by rounding.

    Args:
        compared: the set, whose dataset it is.
        protocol, session: see `stored_whole`.

    Returns:
        The group, and a remark if it was measured on another device or is not known.
    """
    whole, key, known = stored_whole(compared.dataset, protocol, session)
    remarks = list[str]()
    if not known:
        cache = StoredResults(session.store)
        known, where = cache.on_another_device(key, any_precision=protocol.precision == "auto")
        if not known:
            return None, [_how_to_measure(compared, replace(protocol, epochs=None))]
        remarks = [f"The whole training split was measured on another device: {where}."]
    group = Group(
        WHOLE,
        ipc=whole.recipe.ipc,
        trained_on=len(whole),
        stored_bytes=compared.dataset.train.images_NCHW.numel(),
        soft=False,
        references=(),
        digests=(whole.digest,),
        accuracies=tuple(result.accuracy for _, result in sorted(known.items())),
        seconds=sum(result.seconds for result in known.values()),
    )
    return group, remarks


def _how_to_measure(compared: Compared, protocol: Protocol) -> str:
    """Return a remark with the call that measures the group; same arguments."""
    named = {} if protocol.name == DSA.name else {"protocol": protocol.name}
    usual, source = Protocol(), compared.source
    changed = {name: getattr(protocol, name) for name in _CHANGED if getattr(protocol, name) != getattr(usual, name)}
    folder = {name: value for name, value in source.items() if name != "name" and value}
    given = {**named, "networks": protocol.networks, **changed, **folder}
    words = [repr(source["name"]), *(f"{name}={value!r}" for name, value in given.items())]
    words += _network(protocol.network or NetworkSpec(), compared.dataset)
    return (
        f"HLR and LRS need the accuracy of the whole of {compared.dataset.name} by this protocol. "
        f"Measure it, then run the same again: `evaluate_whole({', '.join(words)})`"
    )


def _network(spec: NetworkSpec, dataset: Dataset) -> list[str]:
    """Return the argument for a network, with what differs from its defaults; none for the usual one."""
    own, usual = (asdict(each.resolve(dataset.channels, dataset.size)) for each in (spec, NetworkSpec(spec.arch)))
    words = [repr(spec.arch), *(f"{name}={value!r}" for name, value in own.items() if value != usual[name])]
    return [] if words == [repr(NetworkSpec().arch)] else [f"network=NetworkSpec({', '.join(words)})"]
