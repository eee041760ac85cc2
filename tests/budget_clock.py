"""A clock that the tests move, and a method of another package that moves it."""

from collections.abc import Iterator
from itertools import cycle
from types import ModuleType

import pytest

from dsactl.engine import clock
from dsactl.engine.clock import Clock

STEADY = """
from dsactl.engine import clock

def steady(work):
    kept = work.resume()
    total = work.option("iterations")
    for done in range(int(kept.get("done", 0)), total):
        clock.time.sleep(2.0 if done else 30.0)
        work.keep(done + 1, total, {"done": torch.tensor(done + 1)})
    images = [work.dataset.draw(label, 1, work.generator("x", label))[0] for label in range(work.dataset.classes)]
    return CondensedSet(torch.stack(images), torch.arange(work.dataset.classes))

steady.options, steady.steps_setting = {"iterations": 100}, "iterations"
"""
"""A method whose first step takes 30 s, and each other 2 s."""


class Hands:
    """A clock that goes on only while a method sleeps, `slow` times as long as it says.

    Attributes:
        naps: number of sleeps.
        interrupted: number of the sleep in which Ctrl-C is pressed; 0 for none.
        interrupt: what is raised then; of a signal, SystemExit.
    """

    def __init__(self) -> None:
        self.now, self.slow, self.naps, self.interrupted = 0.0, 1.0, 0, 0
        self.interrupt: type[BaseException] = KeyboardInterrupt

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds * self.slow
        self.naps += 1
        if self.naps == self.interrupted:
            raise self.interrupt


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    """The clock by which trials are timed."""
    hands = Hands()
    monkeypatch.setattr(clock, "time", hands)
    return hands


def marks(monkeypatch: pytest.MonkeyPatch, module: ModuleType, spans: list[float]) -> None:
    """Let the spans between the marks of a module's clock be these: the first, and then the others in turn."""

    class Marked(Clock):
        def __init__(self, _device: object) -> None:
            self.marks: list[float] = []
            self._later: Iterator[float] = iter([0.0, spans[0]])
            self._others = cycle(spans[1:])

        def mark(self) -> None:
            before = self.marks[-1] if self.marks else 0.0
            span = next(self._later, None)
            self.marks.append(before + (next(self._others) if span is None else span))

    monkeypatch.setattr(module, "Clock", Marked)
