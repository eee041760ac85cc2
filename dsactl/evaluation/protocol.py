"""The evaluation protocol (Section 4.1) and its results. Importing this imports no torch."""

import math
import statistics
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import registry
from dsactl.augmentation.strategy import parse_strategy
from dsactl.engine.arguments import check_real, check_seed, check_whole, check_word
from dsactl.engine.words import check_precision
from dsactl.errors import UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import FROM_DC, MOMENTUM, WEIGHT_DECAY, MeanStd

MOST_NETWORKS = 1000
DC = "dc"
"""The strategy of DC's own evaluation."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of an evaluation; the defaults are the paper's.

    Attributes:
        network: the network to train; None for the one that the set was condensed on, with instance norm in place of
            batch norm.
        networks: n, the number of networks.
        epochs: of training; None for 1000 with augmentation and 300 without, or on a whole dataset for as many as take
            `full_data.STEPS` steps.
        lr, momentum, weight_decay, batch: of SGD; halfway, lr is divided by 10 and the momentum is reset.
        strategy: augmentations of the training batches; "none"; "dc" for those of DC's own evaluation, which augments
            MNIST only; None for those that the set was made for.
        seed: the random seed; each set has its own random numbers.
        precision: "auto", "float32" or "bfloat16".

    Examples:
        >>> import dsactl
        >>> dsactl.Protocol(networks=5, network=dsactl.NetworkSpec("resnet18")).is_papers
        True
        >>> dsactl.Protocol(epochs=100).is_papers
        False
    """

    network: NetworkSpec | None = None
    networks: int = 20
    epochs: int | None = None
    lr: float = 0.01
    momentum: float = MOMENTUM
    weight_decay: float = WEIGHT_DECAY
    batch: int = 256
    strategy: str | None = None
    seed: int = 0
    precision: str = "auto"

    @property
    def is_papers(self) -> bool:
        """Whether all is the paper's, except the network, the number of networks, the seed and the precision."""
        usual = Protocol()
        return all(
            getattr(self, name) == getattr(usual, name)
            for name in ("epochs", "lr", "momentum", "weight_decay", "batch", "strategy")
        )

    def is_of(self, method: str) -> bool:
        """Return whether the paper's figures for a method follow this protocol; those it takes from DC follow DC's."""
        if method in FROM_DC:
            return self.strategy == DC and replace(self, strategy=None).is_papers
        return self.is_papers

    def __post_init__(self) -> None:
        if not isinstance(self.network, NetworkSpec | None):
            raise UsageError(f"`network` must be a dsactl.NetworkSpec, not {self.network!r}.")
        check_whole("networks", self.networks, 1, MOST_NETWORKS)
        if self.epochs is not None:
            check_whole("epochs", self.epochs)
        check_whole("batch", self.batch)
        check_seed(self.seed)
        if self.strategy not in (None, DC):
            parse_strategy(self.strategy)
        check_word("precision", self.precision)
        check_precision(self.precision)
        for name in ("lr", "momentum", "weight_decay"):
            check_real(name, getattr(self, name))
        for name, fits, range_ in (
            ("lr", 0 < self.lr < math.inf, "above 0 and finite"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite"),
        ):
            if not fits:
                raise UsageError(f"`{name}` must be {range_}, not {getattr(self, name)}.")


class NetworkResult(NamedTuple):
    """The result of one network.

    Attributes:
        accuracy: on the test images, percent.
        seconds: of training and testing it.
    """

    accuracy: float
    seconds: float


class Sample:
    """The statistics of a sample of networks: a base of results with their accuracies.

    Attributes:
        accuracies: test accuracy of each network, percent.
    """

    accuracies: tuple[float, ...]

    @property
    def n(self) -> int:
        """The number of networks."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy, percent."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Population standard deviation of the accuracies, percent."""
        return statistics.pstdev(self.accuracies)


@dataclass(frozen=True)
class Evaluation(Sample):
    """The result of an evaluation.

    Attributes:
        reference, digest: of the set.
        network: label of the network that was trained.
        accuracies: test accuracy of each network, percent.
        epochs, augmentation: of the training.
        protocol: the rest of the protocol: lr, momentum, weight decay, batch, precision, seed.
        test_images, test_checksum: number of test images, and SHA-256 of them and their labels.
        seconds: of training and testing all networks.
        device: on which the networks were trained.
        program, torch: versions.
        created: when the last network was finished.
        twin: whether the network replaces the set's own, which has batch norm.
        own_augmentation: whether the networks were trained with the augmentation that the set was made for.
        paper: the paper's mean and standard deviation for the same cell; None where it has none, or where the set or
            the protocol is not the paper's.
        repeated: whether all networks were measured and recorded before; not part of the record.

    Examples:
        >>> import dsactl
        >>> condensed = dsactl.condense("digits", ipc=1, method="random")
        >>> found = dsactl.evaluate(condensed, networks=2, epochs=2, network=dsactl.NetworkSpec("mlp"))
        >>> found.reference, found.network, found.epochs, found.test_images
        ('digits-random-ipc1:1', 'mlp', 2, 360)
        >>> min(found.accuracies) <= found.mean <= max(found.accuracies)
        True
    """

    reference: str
    digest: str
    network: str
    accuracies: tuple[float, ...]
    epochs: int
    augmentation: str
    protocol: dict[str, float | int | str]
    test_images: int
    test_checksum: str
    seconds: float
    device: str
    program: str
    torch: str
    created: str
    twin: bool
    own_augmentation: bool
    paper: MeanStd | None
    repeated: bool = False

    def to_dict(self) -> dict[str, registry.JsonValue]:
        """Return the record for the store."""
        values = asdict(self)
        del values["repeated"]
        return {**values, "n": self.n, "mean": self.mean, "std": self.std}
