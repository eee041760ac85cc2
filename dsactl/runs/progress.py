"""What a run reports while it works."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        done, total: steps.
        seconds: of work, those before interruptions included.
        doing: what it does now, in a few words.
        figures: of the last step that was looked at, by name: iteration and matching distance, or the loss.
    """

    done: int
    total: int
    seconds: float = 0.0
    doing: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def distance(self) -> float | None:
        """The mean matching distance over classes, of methods that have one; None before the first."""
        return self.figures.get("distance")

    def __str__(self) -> str:
        """The figures and what is done now: "distance 4.1, matching gradients"."""
        digits = {"distance": 1, "loss": 3}
        words = [f"{name} {value:.{digits[name]}f}" for name, value in self.figures.items() if name in digits]
        return ", ".join([*words, *([self.doing] if self.doing else [])])
