"""Sessions and progress meters for tests."""

from collections.abc import Callable, Mapping

import registry
from dsactl.engine.progress import NO_FIGURES, Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import Executor


class Told(Progress):
    """A meter that records all updates, failures and remarks, and hands each update to a function, which may raise.

    Attributes:
        updates: done, total, doing and figures of each update.
        failures: message and hint of each failure.
        remarks: all remarks.
    """

    def __init__(self, listen: Callable[[float, float, str], object] = lambda done, total, doing: None) -> None:
        self._listen = listen
        self.updates: list[tuple[float, float, str, Mapping[str, float]]] = []
        self.failures: list[tuple[str, str]] = []
        self.remarks: list[str] = []

    @property
    def seen(self) -> list[float]:
        """What was done at each update."""
        return [done for done, *_ in self.updates]

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        self.updates.append((done, total, doing, figures))
        self._listen(done, total, doing)

    def fail(self, message: str, hint: str = "") -> None:
        self.failures.append((message, hint))

    def remark(self, text: str) -> None:
        self.remarks.append(text)


class Stopping(Told):
    """A meter that interrupts the work the first time that so much is done."""

    def __init__(self, at: float) -> None:
        super().__init__(self._stop)
        self._at, self._stopped = at, False

    def _stop(self, done: float, _total: float, _doing: str) -> None:
        if done == self._at and not self._stopped:
            self._stopped = True
            raise KeyboardInterrupt


def session(
    store: registry.Store | None = None, progress: Progress | None = None, executor: Executor | None = None
) -> Session:
    """Return a session on the CPU; the store is the test's own by default."""
    return Session.open("cpu", store, executor, progress)
