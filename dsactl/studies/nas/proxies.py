"""Proxies, by which networks are ranked: training on a small set, for few steps on all images, or for many.

Networks are ranked on a tenth of the training split, which is held out from the images of every proxy. Only a set that
was made from the whole training split has seen it; the proxy's remark says so.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch

from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.data.parts import first_of_each
from dsactl.data.paths import is_folder
from dsactl.data.views import Validation, split_name, take, with_views
from dsactl.engine.random import generator
from dsactl.engine.session import Session
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.resolve import augmentation_of
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, prepare
from dsactl.runs.run import execute, is_made
from dsactl.studies.nas import proxy_names
from dsactl.studies.nas.proxy_names import BUILT_IN, EARLY_STOPPING, RANDOM, WHOLE
from dsactl.synthetic.full_data import whole_set
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from dsactl.training.protocols import DC, DSA

EARLY_STOPPING_BATCH = 100
"""Batch size of early stopping (Section 4.6)."""


@dataclass(frozen=True)
class SearchData:
    """The dataset of a search.

    Attributes:
        name: as given.
        image_size: of a folder.
        full: all training images and the test split, for the chosen networks only.
        held_out: nine tenths of the training images, with the last tenth in place of the test split, for ranking.
    """

    name: str
    image_size: int | None
    full: Dataset
    held_out: Dataset

    @property
    def part_name(self) -> str:
        """The name of `held_out`."""
        return with_views(self.name, Validation())


@dataclass(frozen=True)
class Budget:
    """The training of the networks of a search; the defaults of the first four are the paper's.

    Attributes:
        ipc: images per class of the random proxy.
        epochs: on a set.
        whole_epochs: on all images.
        batch: batch size; None for `EARLY_STOPPING_BATCH` with early stopping, and 256 otherwise.
        seed: the random seed.
        precision: "float32" or "bfloat16".
    """

    ipc: int = 10
    epochs: int = 300
    whole_epochs: int = 100
    batch: int | None = None
    seed: int = 0
    precision: str = "float32"

    @property
    def is_papers(self) -> bool:
        """Whether `ipc`, `epochs`, `whole_epochs` and `batch` are the paper's."""
        return (self.ipc, self.epochs, self.whole_epochs, self.batch) == (10, 300, 100, None)

    def protocol(self, epochs: int) -> Protocol:
        """Return the protocol of one network's training, without the network."""
        return Protocol(networks=1, epochs=epochs, batch=self.batch, seed=self.seed, precision=self.precision)


@dataclass(frozen=True)
class Proxy:
    """A way to rank networks.

    Attributes:
        name: as given, or the full reference of a set.
        synthetic: the images that networks are trained on.
        dataset: its test split, a part of the training split, is for ranking.
        protocol: of the training, without the network.
        seen: number of different images that a network is trained on, which must be stored (Table 6).
        remark: a caveat for the user; empty for none.
        paper: its column in the paper's Table 6; None if it has none.
    """

    name: str
    synthetic: SyntheticSet
    dataset: Dataset
    protocol: Protocol
    seen: int
    remark: str = ""
    paper: str | None = None

    def conditions(self, device: str) -> dict[str, Any]:
        """Return the conditions of its networks' training, for the file of results.

        Args:
            device: from `engine.device.describe`.
        """
        named = self.protocol.resolve(self.synthetic.recipe)
        numbers = {name: getattr(named, name) for name in ("epochs", "lr", "momentum", "weight_decay", "batch")}
        other = {} if named.name in (DSA.name, DC.name) else {"name": named.name}
        return {
            "set": self.synthetic.reference,
            "digest": self.synthetic.digest,
            "augmentation": augmentation_of(self.synthetic, self.protocol)[0],
            "protocol": {**numbers, "seed": self.protocol.seed, "precision": self.protocol.precision, **other},
            "device": device,
            "torch": torch.__version__,
        }


def load(name: str, image_size: int | None = None) -> SearchData:
    """Load the dataset of a search, and hold out images for ranking.

    Raises:
        dsactl.Error: it cannot be loaded, or a class has too few images.
    """
    full = load_dataset(name, image_size=image_size)
    return SearchData(name, image_size, full, take(full, (Validation(),)))


def make(
    word: str,
    searched: SearchData,
    budget: Budget,
    session: Session,
    *,
    pretend: bool = False,
) -> Proxy:
    """Return the proxy with a name; make its set, if it is not in the store.

    Args:
        word: "random", "early-stopping", "whole", or the reference of a set.
        searched: the dataset.
        budget: of training.
        session: has the store of the sets.
        pretend: use other images instead of making a set, for an estimate of the cost.

    Raises:
        UsageError: there is no such proxy or set; the set is of another dataset, or has images of another size.
        registry.RegistryError: a set is damaged.
    """
    if word in BUILT_IN:
        return replace(_built_in(word, searched, budget, session, pretend=pretend), paper=word)
    synthetic = from_store(*proxy_names.find(word, session.store))
    full, held_out = searched.full, searched.held_out
    same = synthetic.recipe.checksum in (full.train.checksum(), held_out.train.checksum())
    if not same and split_name(synthetic.recipe.dataset)[0] != split_name(full.name)[0]:
        raise UsageError(
            f"The proxy {word} is a set of {synthetic.recipe.dataset}, not of {searched.name}.",
            _make_one(searched, budget),
        )
    if tuple(synthetic.images.shape[1:]) != (full.channels, *full.size):
        shape = "×".join(map(str, synthetic.images.shape[1:]))
        raise UsageError(
            f"The proxy {word} has images of {shape}, and {searched.name} of {full.shape_text}.",
            f"Name a set of {searched.name}; list all sets: `store.sets()`",
        )
    protocol, recipe = budget.protocol(budget.epochs), synthetic.recipe
    dsa = recipe.method == "dsa" and recipe.ipc == 10 and recipe.network_label == "convnet" and recipe.is_papers
    proxy = Proxy(synthetic.reference, synthetic, held_out, protocol, len(synthetic), paper="dsa" if dsa else None)
    if recipe.checksum == held_out.train.checksum():
        return proxy
    if recipe.checksum == full.train.checksum():
        remark = f"{word} was made from all training images, including those that networks are ranked on."
        return replace(proxy, dataset=replace(full, test=held_out.test), remark=remark)
    raise UsageError(
        f"The proxy {word} was not made from the training images of {searched.name}.",
        _make_one(searched, budget),
    )


def _make_one(searched: SearchData, budget: Budget) -> str:
    return f'Name a set of {searched.name}, or make one: `condense("{searched.part_name}", ipc={budget.ipc})`'


def _size_of(searched: SearchData) -> int | None:
    return searched.image_size if is_folder(searched.name) else None


def _built_in(
    word: str,
    searched: SearchData,
    budget: Budget,
    session: Session,
    *,
    pretend: bool,
) -> Proxy:
    if word == WHOLE:
        whole, train = whole_set(searched.held_out), searched.held_out.train
        return Proxy(word, whole, searched.held_out, budget.protocol(budget.whole_epochs), len(train))
    if word == EARLY_STOPPING:
        return _early_stopping(searched, budget)
    protocol = budget.protocol(budget.epochs)
    request = Request(searched.part_name, budget.ipc, RANDOM, seed=budget.seed, image_size=_size_of(searched))
    job = prepare(request, session.device, loaded=searched.held_out).within(STUDIES)
    if pretend and not is_made(session.store, job):
        first = whole_set(first_of_each(searched.held_out, budget.ipc))
        return Proxy(word, first, searched.held_out, protocol, len(first))
    chosen = from_store(session.store, execute(job, session, wait=True).stored)
    return Proxy(word, chosen, searched.held_out, protocol, len(chosen))


def _early_stopping(searched: SearchData, budget: Budget) -> Proxy:
    """Return the proxy with as many steps as training on a set takes: passes over all images, or over some of them."""
    whole, train = whole_set(searched.held_out), searched.held_out.train
    batch = budget.batch or EARLY_STOPPING_BATCH
    steps = budget.epochs * -(-budget.ipc * searched.full.classes // (budget.batch or DSA.batch))
    passes, each = _passes(steps, -(-len(train) // batch))
    images = min(len(train), each * batch)
    protocol = replace(budget.protocol(passes), batch=batch)
    if images == len(train):
        return Proxy(EARLY_STOPPING, whole, searched.held_out, protocol, len(train))
    order = torch.randperm(len(train), generator=generator(budget.seed, "early stopping"))[:images].sort().values
    digest = hashlib.sha256(f"{whole.digest}, {images} images by {budget.seed}".encode()).hexdigest()
    some = replace(whole.part(order), digest=digest)
    return Proxy(EARLY_STOPPING, some, searched.held_out, protocol, images)


def _passes(steps: int, most: int) -> tuple[int, int]:
    """Return passes and steps per pass, at most `most`, whose product is nearest to `steps`."""
    fewest = -(-steps // most)
    choices = [(passes, min(most, max(1, round(steps / passes)))) for passes in (fewest, max(1, fewest - 1))]
    return min(choices, key=lambda choice: abs(choice[0] * choice[1] - steps))
