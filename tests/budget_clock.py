"""A clock that the tests move, and a method of another package that moves it."""

import pytest

from dsactl.engine import clock

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
