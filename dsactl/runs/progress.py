"""The progress that a run reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        done, total: steps.
        seconds: of work, including those before interruptions.
        doing: short description of the current work.
        figures: of the last step that was measured, by name: iteration and matching distance, or the loss.
    """

    done: int
    total: int
    seconds: float = 0.0
    doing: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def distance(self) -> float | None:
        """The mean matching distance over classes; None before the first, and for methods without one."""
        return self.figures.get("distance")

    def __str__(self) -> str:
        """Return the figures and the current work: "distance 4.1, matching gradients"."""
        digits = {"distance": 1, "loss": 3}
        words = [f"{name} {value:.{digits[name]}f}" for name, value in self.figures.items() if name in digits]
        return ", ".join([*words, *([self.doing] if self.doing else [])])
