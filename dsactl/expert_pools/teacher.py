"""The teacher of a set's soft labels: a network of a pool of experts. Importing this loads no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import registry
from dsactl.engine.arguments import check_real, check_whole
from dsactl.errors import UsageError
from dsactl.recipes.recipe import Relabelled

MEAN: Literal["mean"] = "mean"


@dataclass(frozen=True)
class Teacher:
    """A user's choice of a teacher: keywords of `dsactl.relabel`.

    Attributes:
        network: number of the network in the pool, or "mean" for the mean of all networks' probabilities. Default: 0,
            ours.
        epoch: one of those after which the pool's networks are kept. Default: None for the last, ours.
        temperature: T of softmax(logits / T). Default: 1, ours.
    """

    network: int | Literal["mean"] = 0
    epoch: int | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.network, str) and self.network != MEAN:
            raise UsageError(f"`teacher` must be the number of a network or 'mean', not {self.network!r}.")
        if self.network != MEAN:
            check_whole("teacher", self.network, 0)
        if self.epoch is not None:
            check_whole("epoch", self.epoch, 0)
        check_real("temperature", self.temperature)
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"`temperature` must be above 0 and finite, not {self.temperature}.")

    @classmethod
    def parse(cls, network: str, epoch: int | None, temperature: float) -> "Teacher":
        """Return a teacher whose network is a text: a number or "mean".

        Raises:
            UsageError: a value is none that it can have.
        """
        return cls(int(network) if network.isascii() and network.isdigit() else network, epoch, temperature)  # type: ignore[arg-type]

    def of(self, pool: registry.Pool, reference: str, digest: str) -> Relabelled:
        """Return the teacher in a pool, as recipes have it.

        Args:
            pool: its networks and epochs.
            reference: what messages call it.
            digest: of its content.

        Raises:
            UsageError: the pool has no such network or epoch.
        """
        epoch = pool.epochs[-1] if self.epoch is None else int(self.epoch)
        check_epoch(epoch, pool.epochs, reference)
        network = self.network if self.network == MEAN else int(self.network)
        if network != MEAN:
            check_network(network, pool.networks, reference)
        return Relabelled(digest, epoch, network, float(self.temperature))


def check_network(index: int, networks: int, reference: str) -> None:
    """Refuse a network that a pool does not have.

    Raises:
        UsageError: the pool has fewer networks.
    """
    if not 0 <= index < networks:
        raise UsageError(f"{reference} has no network {index}.", f"Its networks: 0 to {networks - 1}.")


def check_epoch(epoch: int, epochs: Sequence[int], reference: str) -> None:
    """Refuse an epoch that a pool does not have.

    Raises:
        UsageError: the pool keeps its networks after other epochs.
    """
    if epoch not in epochs:
        known = ", ".join(map(str, epochs))
        raise UsageError(f"{reference} has no epoch {epoch}.", f"Epochs: {known}. Others need a pool made with `keep`.")
