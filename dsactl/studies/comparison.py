"""What a set gains over random real images: groups of networks, and scores. Importing this loads no torch.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation" (2025): the improvement over random (IOR),
the hard-label recovery (HLR), and the label-robust score (LRS) of both.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import registry
from dsactl.errors import UnknownNameError, UsageError
from dsactl.evaluation.protocol import Evaluation, Sample

SET, HARD, WHOLE = "set", "hard", "whole"
RANDOM, RANDOM_BYTES, RANDOM_SOFT, RANDOM_BYTES_SOFT = "random", "random bytes", "random soft", "random bytes soft"
"""Names of groups: the set, the same with hard labels, the whole training split, and sets of random real images."""


@dataclass(frozen=True)
class Group(Sample):
    """Networks that were trained on one set, or on several of one kind.

    Attributes:
        name: "set"; "random" and "random bytes" for random real images, as many as the set stores, or of as many bytes;
            the same with "soft" for soft labels; "hard" for the set with hard labels; "whole" for the training split.
        ipc: the largest number of stored images of a class.
        trained_on: number of images to train on, of each set.
        stored_bytes: of each set's images and soft labels (`registry.cost`), in 8 bits where that loses nothing.
        soft: whether the labels are soft.
        references, digests: of the sets. "hard" and "whole" have no references, since they are not stored as such.
        accuracies: test accuracy of each network, percent, set by set.
        seconds: of training and testing them, in this or an earlier call.
    """

    name: str
    ipc: int
    trained_on: int
    stored_bytes: int
    soft: bool
    references: tuple[str, ...]
    digests: tuple[str, ...]
    accuracies: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """What a set gains over random real images.

    Attributes:
        evaluation: of the set.
        groups: the set first; those that would be the same as another are left out.
        remarks: what is left out or cut short, and why.
        repeated: whether all networks were measured and recorded before.
    """

    evaluation: Evaluation
    groups: tuple[Group, ...]
    remarks: tuple[str, ...]
    repeated: bool

    def find(self, name: str) -> Group | None:
        """Return the group with a name; None if it is left out."""
        return next((group for group in self.groups if group.name == name), None)

    def group(self, name: str) -> Group:
        """Return the group with a name.

        Raises:
            UnknownNameError: there is none, or it is left out.
        """
        found = self.find(name)
        if found is None:
            raise UnknownNameError("group", name, [group.name for group in self.groups], "See `remarks` on others.")
        return found

    def gain(self, name: str) -> float:
        """Return the mean accuracy of the set minus that of another group, in points.

        Raises:
            UsageError: the group is the set itself, or there is none with this name.
        """
        return self.group(SET).mean - self._other(name).mean

    def standard_error(self, name: str) -> float | None:
        """Return the standard error of `gain`, in points; None for a single network.

        It is √(s₁²/n₁ + s₂²/n₂) with sample variances s² (divisor n − 1), as if all networks were independent.

        Raises:
            UsageError: see `gain`.
        """
        spread = [_error(each.accuracies) for each in (self.group(SET), self._other(name))]
        return None if None in spread else math.hypot(*filter(None, spread))

    def _other(self, name: str) -> Group:
        if name == SET:
            others = ", ".join(repr(group.name) for group in self.groups if group.name != SET)
            raise UsageError("The set has no gain over itself.", f"Name another group: {others}.")
        return self.group(name)

    @property
    def seconds(self) -> float:
        """Seconds of all groups but the whole, which is only looked up."""
        return math.fsum(group.seconds for group in self.groups if group.name != WHOLE)

    @property
    def ior(self) -> float | None:
        """Improvement over random: accuracy of the set minus that of as many random images, −1 … 1.

        Their labels are of the set's kind, as in the authors' program. None for soft labels without a teacher.
        """
        alike = RANDOM_SOFT if self.group(SET).soft else RANDOM
        return None if self.find(alike) is None else self.gain(alike) / 100

    @property
    def hlr(self) -> float | None:
        """Hard-label recovery: accuracy of the whole minus that of the set with hard labels; None without the whole."""
        whole, hard = self.find(WHOLE), self.find(HARD) or self.group(SET)
        return None if whole is None else (whole.mean - hard.mean) / 100

    @property
    def lrs(self) -> float | None:
        """Label-robust score, 0 … 1; None where `ior` or `hlr` is None."""
        return None if self.ior is None or self.hlr is None else label_robust_score(self.ior, self.hlr)

    def to_dict(self) -> dict[str, registry.JsonValue]:
        """Return the record of the set's evaluation, and the groups and scores, as JSON values."""
        groups: list[registry.JsonValue] = []
        for group in self.groups:
            values = {**asdict(group), "n": group.n, "mean": group.mean, "std": group.std}
            if group.name != SET:
                values |= {"gain": self.gain(group.name), "standard_error": self.standard_error(group.name)}
            groups.append(values)
        more: dict[str, registry.JsonValue] = {"ior": self.ior, "hlr": self.hlr, "lrs": self.lrs}
        return {**self.evaluation.to_dict(), "groups": groups, **more, "remarks": list(self.remarks)}


def label_robust_score(ior: float, hlr: float) -> float:
    """Return DD-Ranking's score (e^α − e⁻¹) / (e − e⁻¹) with α = ½·IOR − ½·HLR, 0 … 1.

    Args:
        ior, hlr: as fractions, −1 … 1. The authors' program takes percentages, which its formula is not made for.
    """
    alpha = ior / 2 - hlr / 2
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def _error(accuracies: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None for a single value."""
    count = len(accuracies)
    if count < 2:
        return None
    mean = math.fsum(accuracies) / count
    return math.sqrt(math.fsum((each - mean) ** 2 for each in accuracies) / (count - 1) / count)


def shares(networks: int, most: int) -> list[int]:
    """Return how many networks to train on each of several sets: as equally as possible, on at most `most` sets."""
    sets = min(networks, most)
    return [networks // sets + (index < networks % sets) for index in range(sets)]
