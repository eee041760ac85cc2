"""Progress of long work: one meter, handed down from the caller to the innermost loop."""

from collections.abc import Mapping
from types import MappingProxyType

NO_FIGURES: Mapping[str, float] = MappingProxyType({})


class Progress:
    """A progress meter. This class ignores the progress; subclasses show or record it.

    Examples:
        >>> import dsactl
        >>> class Printed(dsactl.Progress):
        ...     def update(self, done, total, doing="", figures={}):
        ...         print(f"{done:g} of {total:g}", doing)
        >>> condensed = dsactl.condense("digits", ipc=1, method="dd", width=16, iterations=2, progress=Printed())
        1 of 2 learning images
        2 of 2 learning images
    """

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        """Take note of the progress.

        Args:
            done, total: finished work and all work, in any unit: steps, networks, operations.
            doing: short description of the current work.
            figures: measured values by name: `distance`, the mean matching distance over classes; `loss`; `stored`, the
                number of networks whose results are stored.
        """

    def fail(self, message: str, hint: str = "") -> None:
        """Take note of a part of the work that failed; the others continue.

        Args:
            message: what failed, and why.
            hint: what to do about it.
        """

    def remark(self, text: str) -> None:
        """Take note of something that is worth knowing while the work goes on, such as a choice that it made."""

    def part(self, before: float, size: float, total: float, label: str = "") -> "Progress":
        """Return the meter of a part of the work.

        Args:
            before: work that is finished before the part begins.
            size: of the part, in the same unit.
            total: all work.
            label: put before the descriptions of the part's work.
        """
        return _Part(self, before, size, total, label)


NO_PROGRESS = Progress()
"""The meter that ignores everything."""


class ForwardedProgress(Progress):
    """A meter that passes everything on to another one."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        self._whole.update(done, total, doing, figures)

    def fail(self, message: str, hint: str = "") -> None:
        self._whole.fail(message, hint)

    def remark(self, text: str) -> None:
        self._whole.remark(text)


class _Part(ForwardedProgress):
    def __init__(self, whole: Progress, before: float, size: float, total: float, label: str) -> None:
        super().__init__(whole)
        self._before, self._size, self._total, self._label = before, size, total, label

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        share = done / total if total else 0.0
        words = ": ".join(filter(None, (self._label, in_words(doing, figures))))
        self._whole.update(self._before + self._size * share, self._total, words)


class LastProgress(ForwardedProgress):
    """A meter that remembers the last progress, and passes it on.

    Attributes:
        done, total: of the last update; 0 before the first.
    """

    def __init__(self, whole: Progress) -> None:
        super().__init__(whole)
        self.done = self.total = 0.0

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        self.done, self.total = done, total
        super().update(done, total, doing, figures)


def in_words(doing: str, figures: Mapping[str, float] = NO_FIGURES) -> str:
    """Return the figures and the current work: "distance 4.1, matching gradients"."""
    digits = {"distance": 1, "loss": 3}
    words = [f"{name} {value:.{digits[name]}f}" for name, value in figures.items() if name in digits]
    return ", ".join([*words, *([doing] if doing else [])])
