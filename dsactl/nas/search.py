"""Every network is trained on a proxy once; what it reached is kept for every later search.

    runs/nas/KEY.json      accuracy and seconds of one network, under a key of everything that decides them

A network that diverges has the accuracy of a guess.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.device import describe
from dsactl.engine.locks import writing_to
from dsactl.engine.native import library
from dsactl.engine.tasks import Failure, InProcess, Task, Workers
from dsactl.errors import NetworkError, is_want_of_memory
from dsactl.evaluation.cache import REVISION as EVALUATION
from dsactl.evaluation.evaluate import evaluate
from dsactl.evaluation.resolve import augmentation_of
from dsactl.nas.proxies import Proxy
from dsactl.nas.space import name_of
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.runs.cost import forward_operations
from registry.files import write_atomically
from registry.manifest import canonical, key_of

REVISION = 1
"""To be raised when a change of the program changes what a network reaches."""
TOO_MUCH_MEMORY = "it wants too much memory; take a smaller --batch, a larger --gpu-share, or leave such out by --where"


@dataclass(frozen=True)
class Score:
    """What came of a network.

    Attributes:
        accuracy: on the held-out images, percent.
        seconds: of training and testing it, whenever that was.
    """

    accuracy: float
    seconds: float


def fitting(networks: Sequence[NetworkSpec], dataset: Dataset) -> list[NetworkSpec]:
    """Those that can take the images."""
    found = []
    for network in networks:
        with contextlib.suppress(NetworkError):
            structure(network, dataset.channels, dataset.size, dataset.classes)
            found.append(network)
    return found


class Scores:
    """What networks reached on a proxy, in a store.

    Args:
        proxy: they are trained on, in a precision that is resolved.
        store: keeps them.
        device: where they are trained.
        threads: that each is trained with on a CPU; None for those of this process.
    """

    def __init__(self, proxy: Proxy, store: registry.Store, device: torch.device, threads: int | None = None) -> None:
        self._proxy, self._where = proxy, describe(device, threads)
        self._native = device.type == "cpu" and library() is not None
        self._folder = store.home / "runs" / "nas"

    def find(self, network: NetworkSpec) -> Score | None:
        """What it reached earlier; None if it was not trained, or what was kept is damaged."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            value = json.loads(self._path(network).read_bytes())
            score = Score(float(value["accuracy"]), float(value["seconds"]))
            if math.isfinite(score.accuracy) and math.isfinite(score.seconds):
                return score
        return None

    def keep(self, network: NetworkSpec, score: Score) -> None:
        """Keep what it reached.

        Raises:
            registry.StoreError: the store cannot be written to.
        """
        with writing_to(self._folder):
            write_atomically(self._path(network), canonical({**asdict(score), **self._decisive(network)}))

    def _path(self, network: NetworkSpec) -> Path:
        return self._folder / f"{key_of(self._decisive(network))}.json"

    def _decisive(self, network: NetworkSpec) -> dict[str, Any]:
        protocol = {key: value for key, value in asdict(self._proxy.protocol).items() if key != "network"}
        return {
            "network": name_of(network),
            "images": self._proxy.synthetic.digest,
            "normalisation": [self._proxy.synthetic.mean, self._proxy.synthetic.std],
            "augmentation": augmentation_of(self._proxy.synthetic, self._proxy.protocol)[0],
            "ranked on": self._proxy.dataset.test.checksum(),
            "protocol": protocol,
            "device": self._where,
            "native": self._native,
            "torch": torch.__version__,
            "revision": [REVISION, EVALUATION],
        }


def search(
    networks: Sequence[NetworkSpec],
    proxy: Proxy,
    store: registry.Store,
    device: torch.device,
    workers: Workers | None = None,
    report: Callable[[float, str], None] = lambda done, doing: None,
) -> Iterator[tuple[NetworkSpec, Score | Failure]]:
    """Train every network on a proxy, or find what it reached.

    Args:
        networks: that can take the images.
        proxy: to train on.
        store: keeps what they reach.
        device: where to compute.
        workers: who trains them; None for this process.
        report: told how far it is, in networks of the mean cost, and what is done.

    Yields:
        Each network with what it reached, those first that were known.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    store.check_writable()
    who = (workers or InProcess()).suited(len(networks))
    scores = Scores(proxy, store, device, who.threads)
    known = {network: score for network in networks if (score := scores.find(network)) is not None}
    yield from known.items()
    left = {name_of(network): network for network in networks if network not in known}
    tasks = [
        Task(name, train, (network, who.place(device)), forward_operations(network, proxy.dataset))
        for name, network in left.items()
    ]

    def tell(share: float, doing: str) -> None:
        report(len(known) + share * len(left), f"{proxy.name}: {doing}")

    if tasks:
        for task, found in who.run(proxy, tasks, tell):
            if not isinstance(found, Failure):
                scores.keep(left[task.name], found)
            yield left[task.name], found
    report(len(networks), proxy.name)


def train(proxy: Proxy, network: NetworkSpec, device: str, report: Callable[[float], None]) -> Score | Failure:
    """Train one network on a proxy, and test it on the held-out images; one that wants too much memory is given up."""
    protocol = replace(proxy.protocol, network=network)
    try:
        result = evaluate(proxy.synthetic, proxy.dataset, protocol, torch.device(device), report)
    except (RuntimeError, MemoryError) as error:
        if not is_want_of_memory(error):
            raise
        return Failure(TOO_MUCH_MEMORY)
    return Score(result.mean, result.seconds)
