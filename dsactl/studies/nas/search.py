"""Training of networks on a proxy, each once: results are shared with `evaluate` by the cache of `evaluation.cache`.

A network that diverges has the accuracy of a guess.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import Failure, Task
from dsactl.errors import NetworkError, is_out_of_memory
from dsactl.evaluation.cache import EvaluationKey, StoredResults
from dsactl.evaluation.protocol import NetworkResult
from dsactl.evaluation.resolve import check_matches, evaluation_key, resolve_networks
from dsactl.evaluation.task import train_and_test
from dsactl.methods.operations import forward_operations
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.nas.proxies import Proxy
from dsactl.studies.nas.space import name_of

TOO_MUCH_MEMORY = "out of memory; use a smaller `batch` or a larger `gpu_share`, or exclude such networks by `where`"


def fitting(networks: Sequence[NetworkSpec], dataset: Dataset) -> list[NetworkSpec]:
    """Return the networks that can take the images."""
    found = []
    for network in networks:
        with contextlib.suppress(NetworkError):
            structure(network, dataset.channels, dataset.size, dataset.classes)
            found.append(network)
    return found


def cache_keys(
    proxy: Proxy, networks: Sequence[NetworkSpec], device: torch.device, threads: int | None = None
) -> dict[NetworkSpec, EvaluationKey]:
    """Return the key of each network's result on a proxy.

    Args:
        proxy: the proxy.
        networks: that can take the images.
        device: where they are trained.
        threads: of each network on a CPU; None for those of this process.
    """
    keys = {}
    for network in networks:
        protocol = replace(proxy.protocol, network=network)
        resolved = resolve_networks(proxy.synthetic, proxy.dataset, protocol, device)
        keys[network] = evaluation_key(resolved, protocol, device, threads)
    return keys


def load_results(store: registry.Store, keys: Mapping[NetworkSpec, EvaluationKey]) -> dict[NetworkSpec, NetworkResult]:
    """Return the cached results, of the networks that have one: that of an evaluation's first network."""
    cache = StoredResults(store)
    return {network: results[0] for network, key in keys.items() if 0 in (results := cache.load(key))}


def search(
    networks: Sequence[NetworkSpec],
    proxy: Proxy,
    session: Session,
) -> Iterator[tuple[NetworkSpec, NetworkResult | Failure]]:
    """Train every network on a proxy, unless its result is cached.

    Args:
        networks: that can take the images.
        proxy: to train on.
        session: has the store with the cache. Its meter counts networks of the mean cost.

    Yields:
        Each network with its result, cached ones first.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    check_matches(proxy.synthetic, proxy.dataset)
    store, device, executor = session.store, session.device, session.executor.choose(len(networks))
    store.check_writable()
    keys, cache = cache_keys(proxy, networks, device, executor.threads), StoredResults(store)
    known = load_results(store, keys)
    yield from known.items()
    missing = {name_of(network): network for network in networks if network not in known}
    tasks = [
        Task(name, train, (network, executor.task_device(device)), forward_operations(network, proxy.dataset))
        for name, network in missing.items()
    ]
    progress = session.progress.part(len(known), len(missing), len(networks))
    for task, result in executor.run(proxy, tasks, progress) if tasks else ():
        network = missing[task.name]
        if not isinstance(result, Failure):
            cache.save(keys[network], {0: result})
        yield network, result
    session.progress.update(len(networks), len(networks))


def train(proxy: Proxy, network: NetworkSpec, device: str, progress: Progress) -> NetworkResult | Failure:
    """Train one network on a proxy and test it on the held-out images, as an evaluation does with its first network.

    Returns:
        Its result; a failure if memory runs out.
    """
    protocol = replace(proxy.protocol, network=network)
    try:
        networks = resolve_networks(proxy.synthetic, proxy.dataset, protocol, torch.device(device))
        (result,) = train_and_test(networks, range(1), device, progress)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Failure(TOO_MUCH_MEMORY)
    return result
