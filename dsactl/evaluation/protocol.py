"""The protocol of an evaluation and its results. Importing this imports no torch."""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import registry
from dsactl.augmentation.strategy import parse_strategy
from dsactl.engine.arguments import check_real, check_seed, check_whole, check_word, keywords_of
from dsactl.engine.words import check_precision
from dsactl.errors import KeywordError, UnknownKeywordError, UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import FROM_DC, MeanStd
from dsactl.recipes.methods import protocol_of
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.protocols_of_sets import protocol_for
from dsactl.training.protocols import DSA, NamedProtocol, find_protocol

MOST_NETWORKS = 1000
DC = "dc"
"""The strategy of DC's own evaluation, and the name of its protocol."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of an evaluation: a published one by its name, and what differs from it.

    Attributes:
        network: the network to train; None for the one that the set was condensed on, with instance norm in place of
            batch norm.
        networks: n, the number of networks.
        epochs: of training; None for the named protocol's, or on a whole dataset for as many as take `full_data.STEPS`
            steps.
        lr, momentum, weight_decay, batch: of SGD; None for the named protocol's.
        strategy: augmentations of the training batches; "none"; "dc" for those of DC's own evaluation, which augments
            MNIST only; None for the named protocol's, which are those that the set was made for.
        seed: the random seed; each set has its own random numbers.
        precision: "auto", "float32" or "bfloat16".
        name: "dsa", "dc", "idc" or "mtt" (`dsactl.training.protocols`); None for the one that the set was made for.
        cutmix: probability of CutMix for a batch; None for the named protocol's.

    Examples:
        >>> import dsactl
        >>> dsactl.Protocol(networks=5, network=dsactl.NetworkSpec("resnet18")).is_papers
        True
        >>> dsactl.Protocol(epochs=100).is_papers
        False
        >>> dsactl.Protocol(name="idc").is_papers
        False
    """

    network: NetworkSpec | None = None
    networks: int = 20
    epochs: int | None = None
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    batch: int | None = None
    strategy: str | None = None
    seed: int = 0
    precision: str = "auto"
    name: str | None = None
    cutmix: float | None = None

    @property
    def is_papers(self) -> bool:
        """Whether all is the paper's, except the network, the number of networks, the seed and the precision."""
        return self.name in (None, DSA.name) and self.strategy is None and self._has_usual_numbers

    def is_of(self, method: str) -> bool:
        """Return whether the paper's figures for a method follow this protocol; those it takes from DC follow DC's."""
        if method in FROM_DC:
            is_dc = (self.name, self.strategy) in ((DC, None), (DC, DC), (None, DC), (DSA.name, DC))
            return is_dc and self._has_usual_numbers
        return self.name in (None, protocol_of(method)) and self.strategy is None and self._has_usual_numbers

    @property
    def _has_usual_numbers(self) -> bool:
        """Whether epochs and SGD are those of `dsa`, which are those of `dc` as well."""
        return self._over(DSA) == DSA

    def resolve(self, recipe: Recipe) -> NamedProtocol:
        """Return the named protocol for a set, with the values that are given here in place of its own.

        Args:
            recipe: the set's, whose method says which protocol it was made for.

        Raises:
            UnknownNameError: the method of another package names a protocol that does not exist.
        """
        return self._changed(protocol_for(recipe, self.name))

    def resolve_over(self, own: str) -> NamedProtocol:
        """Return the named protocol for sets in general that were made for the protocol `own`; see `resolve`."""
        return self._changed(find_protocol(self.name or own))

    def _changed(self, named: NamedProtocol) -> NamedProtocol:
        """Return a named protocol with the values that are given here."""
        named = self._over(named)
        return named if self.strategy is None else replace(named, strategy=self.strategy, without=())

    def _over(self, named: NamedProtocol) -> NamedProtocol:
        """Return a named protocol with the numbers that are given here."""
        names = ("epochs", "lr", "momentum", "weight_decay", "batch", "cutmix")
        numbers = {name: getattr(self, name) for name in names}
        return replace(named, **{name: value for name, value in numbers.items() if value is not None})

    def __post_init__(self) -> None:
        if not isinstance(self.network, NetworkSpec | None):
            raise UsageError(f"`network` must be a dsactl.NetworkSpec, not {self.network!r}.")
        check_whole("networks", self.networks, 1, MOST_NETWORKS)
        for name in ("epochs", "batch"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_seed(self.seed)
        if self.strategy not in (None, DC):
            parse_strategy(self.strategy)
        if self.name is not None:
            check_word("name", self.name)
            find_protocol(self.name)
        check_word("precision", self.precision)
        check_precision(self.precision)
        for name in ("lr", "momentum", "weight_decay", "cutmix"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name))
        for name, fits, range_ in (
            ("lr", self.lr is None or 0 < self.lr < math.inf, "above 0 and finite"),
            ("momentum", self.momentum is None or 0 <= self.momentum < 1, "at least 0 and below 1"),
            ("weight_decay", self.weight_decay is None or 0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            ("cutmix", self.cutmix is None or 0 <= self.cutmix <= 1, "from 0 to 1"),
        ):
            if not fits:
                raise UsageError(f"`{name}` must be {range_}, not {getattr(self, name)}.")


def given_protocol(
    protocol: Protocol | str | None, options: Mapping[str, Any], function: Callable[..., Any]
) -> Protocol:
    """Return the protocol that is given, or the one with the given name and attributes.

    Args:
        protocol: a protocol, its name, or None.
        options: attributes in place of a protocol, or beside its name.
        function: that they are given to; its parameters are suggested for an unknown option.

    Raises:
        UsageError: the protocol is none.
        KeywordError: both are given, or neither the function nor `Protocol` has one of the options.
    """
    if not isinstance(protocol, Protocol | str | None):
        raise UsageError(f"`protocol` must be a Protocol or its name, not {protocol!r}.", 'Use `protocol="dsa"`.')
    known = {field.name for field in fields(Protocol)}
    for name in options:
        if name not in known:
            raise UnknownKeywordError("keyword", name, {*known, *keywords_of(function)})
    if isinstance(protocol, str) and "name" not in options:
        return Protocol(name=protocol, **options)
    if protocol is not None and options:
        named = " and ".join(f"`{name}`" for name in options)
        raise KeywordError(f"Both a protocol and {named} are given.", "Change the protocol with `dataclasses.replace`.")
    return protocol if isinstance(protocol, Protocol) else Protocol(**options)


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
        protocol: the rest of the protocol: lr, momentum, weight decay, batch, precision, seed; name, schedule of the
            learning rate and probability of CutMix, where they are not those of dsa and dc.
        test_images, test_checksum: number of test images, and SHA-256 of them and their labels.
        seconds: of training and testing all networks.
        device: on which the networks were trained.
        program, torch: versions.
        created: when the last network was finished.
        twin: whether the network replaces the set's own, which has batch norm.
        own_augmentation: whether the networks were trained with the augmentation that the set was made for, CutMix
            included.
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
