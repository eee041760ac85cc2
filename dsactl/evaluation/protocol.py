"""The evaluation protocol (Section 4.1), and the record of what was measured by it. Importing this imports no torch."""

import math
import statistics
from dataclasses import asdict, dataclass, replace

import registry
from dsactl.augmentation.strategy import parse_strategy
from dsactl.engine.words import check_precision
from dsactl.errors import UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import FROM_DC, MOMENTUM, WEIGHT_DECAY, Figure

MOST_NETWORKS = 1000
DC = "dc"
"""A strategy of the networks that are trained on a set."""


@dataclass(frozen=True)
class Protocol:
    """How a set is evaluated; the defaults are the paper's.

    Attributes:
        network: to train; None for the one the set was condensed on, with instance norm in place of batch norm.
        networks: n, how many.
        epochs: None for 1000 with augmentation, 300 without; on a whole data set for `whole.STEPS` steps.
        lr, momentum, weight_decay, batch: of SGD; lr is divided by 10 at half time and the momentum forgotten there.
        strategy: kinds of augmentation; "none"; "dc" for what DC's own evaluation does, which augments MNIST alone;
            None for what the set was made for.
        seed: the root of every draw; each set has draws of its own.
        precision: "auto", "float32" or "bfloat16".
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
        """Whether all but the network, their number, the seed and the precision is the paper's."""
        usual = Protocol()
        return all(
            getattr(self, name) == getattr(usual, name)
            for name in ("epochs", "lr", "momentum", "weight_decay", "batch", "strategy")
        )

    def is_of(self, method: str) -> bool:
        """Whether the paper's figures of a method are by this protocol: those that it takes from DC's are by DC's."""
        if method in FROM_DC:
            return self.strategy == DC and replace(self, strategy=None).is_papers
        return self.is_papers

    def __post_init__(self) -> None:
        if not 1 <= self.networks <= MOST_NETWORKS:
            raise UsageError(f"--networks must be at least 1 and at most {MOST_NETWORKS}, not {self.networks}.")
        if self.epochs is not None and self.epochs < 1:
            raise UsageError(f"--epochs must be at least 1, not {self.epochs}.")
        if self.strategy not in (None, DC):
            parse_strategy(self.strategy)
        check_precision(self.precision)
        for name, fits, range_ in (
            ("lr", 0 < self.lr < math.inf, "above 0 and finite"),
            ("momentum", 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            ("batch", self.batch >= 1, "at least 1"),
        ):
            if not fits:
                raise UsageError(f"{name} must be {range_}, not {getattr(self, name)}.")


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        reference, digest: of the set.
        network: label of the network that was trained.
        accuracies: test accuracy of each network, percent.
        epochs, augmentation: as used.
        protocol: the rest of how it was measured: lr, momentum, weight decay, batch, precision, seed.
        test_images, test_checksum: how many images each network was tested on, and SHA-256 of them and their labels.
        seconds: for all networks.
        device, program, torch, created: where, with what, when.
        twin: whether the network stands in for the set's own, which has batch norm.
        own_augmentation: whether the networks were trained with the augmentation that the set was made for.
        paper: the paper's mean and standard deviation for the same cell; None where it has none, or where the set or
            the protocol is not the paper's.
        repeated: it had been measured before and was only looked up; not part of the record.
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
    paper: Figure | None
    repeated: bool = False

    @property
    def n(self) -> int:
        """How many networks."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy, percent."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Population standard deviation of the accuracies, percent."""
        return statistics.pstdev(self.accuracies)

    def to_dict(self) -> dict[str, registry.JsonValue]:
        """The record that is kept in the store."""
        values = asdict(self)
        del values["repeated"]
        return {**values, "n": self.n, "mean": self.mean, "std": self.std}
