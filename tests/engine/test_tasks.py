from collections.abc import Callable

from dsactl.engine.tasks import LocalExecutor, Task


def halves(shared: int, number: int, tell: Callable[[float], None]) -> int:
    tell(0.5)
    tell(1.0)
    return shared + number


def test_one_after_the_other() -> None:
    told: list[tuple[float, str]] = []
    tasks = [Task("a", halves, (1,)), Task("b", halves, (2,), cost=3)]
    done = LocalExecutor().run(10, tasks, lambda share, doing: told.append((share, doing)))
    assert [(task.name, result) for task, result in done] == [("a", 11), ("b", 12)]
    # Only the tasks' own reports arrive: a caller that times steps would count a report of the setup as a step.
    assert told == [(0.125, "a"), (0.25, "a"), (0.625, "b"), (1.0, "b")]
