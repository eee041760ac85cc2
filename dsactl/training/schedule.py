"""Schedules of the learning rate. Importing this imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A learning rate that is divided by the same number before each of some epochs.

    Attributes:
        at: the epochs, counted from 0; one that is named twice counts twice.
        by: the number.
        resets_momentum: whether the momentum is set to zero at these epochs.
    """

    at: tuple[int, ...] = ()
    by: float = 10
    resets_momentum: bool = True

    def rate(self, lr: float, epoch: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            lr: of the first epoch.
            epoch: its number, from 0.
        """
        return lr / self.by ** sum(epoch >= each for each in self.at)

    def resets(self, epoch: int) -> bool:
        """Return whether the momentum is set to zero before an epoch."""
        return self.resets_momentum and epoch in self.at

    def __str__(self) -> str:
        """Return a description for records."""
        kept = "reset" if self.resets_momentum else "kept"
        return f"lr / {self.by:g} before epochs {', '.join(map(str, self.at))}; momentum {kept}"


CONSTANT = Schedule()
"""The same learning rate in every epoch."""
