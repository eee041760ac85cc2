"""The cost of a search: operations by counting, seconds by trying a few of the networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from dsactl.data.parts import first_of_each
from dsactl.engine.session import Session
from dsactl.engine.tasks import LocalExecutor
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.costs import try_training
from dsactl.studies.nas.proxies import Proxy
from dsactl.studies.nas.search import cache_keys, load_results

_TRIED = 5  # networks, from the cheapest to the dearest
_TESTED = 500  # images


@dataclass(frozen=True)
class Cost:
    """The cost of training networks on a proxy.

    Attributes:
        networks: number of networks to train.
        known: number of networks with a cached result.
        operations: floating-point operations of the training.
        seconds: of training and testing the networks one after the other.
    """

    networks: int
    known: int
    operations: float
    seconds: float


def estimate(
    proxy: Proxy,
    networks: Sequence[NetworkSpec],
    session: Session,
) -> Cost:
    """Count operations, and time a few networks.

    Args:
        proxy: to train on.
        networks: that can take the images.
        session: has the store with the cached results, and the executor that would train the networks.
    """
    threads = session.executor.choose(len(networks)).threads
    known = load_results(session.store, cache_keys(proxy, networks, session.device, threads))
    left = [network for network in networks if network not in known]
    if not left:
        return Cost(0, len(networks), 0.0, 0.0)
    forward = sorted((forward_operations(network, proxy.dataset), index) for index, network in enumerate(left))
    places = sorted({round(place) for place in np.linspace(0, len(forward) - 1, _TRIED)})
    tried = [(forward[place][0], _seconds(proxy, left[forward[place][1]], session)) for place in places]
    # Between those that were tried, time is a power of the operations.
    seconds = np.exp(
        np.interp(
            [math.log(operations) for operations, _ in forward],
            [math.log(operations) for operations, _ in tried],
            [math.log(taken) for _, taken in tried],
        )
    )
    images = len(proxy.synthetic) * (proxy.protocol.epochs or 1)
    total = GRADIENT * images * sum(operations for operations, _ in forward)
    return Cost(len(left), len(networks) - len(left), total, float(seconds.sum()))


def _seconds(proxy: Proxy, network: NetworkSpec, session: Session) -> float:
    """Estimate the seconds of training and testing one network, from a few steps and a part of the test images."""
    protocol, whole = replace(proxy.protocol, network=network), proxy.synthetic
    batch = min(protocol.resolve(whole.recipe).batch, len(whole))
    spread = torch.linspace(0, len(whole) - 1, batch).long()
    few = whole.part(spread)
    part = first_of_each(proxy.dataset, -(-_TESTED // proxy.dataset.classes))
    few = replace(few, recipe=replace(few.recipe, checksum=part.train.checksum()))
    step, test = try_training(few, part, protocol, replace(session, executor=LocalExecutor()))
    steps = (protocol.epochs or 1) * len(whole) / batch
    return steps * step + test * len(proxy.dataset.test) / len(part.test)
