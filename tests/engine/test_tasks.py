from sessions import Told

from dsactl.engine.progress import Progress
from dsactl.engine.tasks import LocalExecutor, Task


def halves(shared: int, number: int, progress: Progress) -> int:
    progress.update(1, 2)
    progress.update(2, 2, "almost there")
    return shared + number


def test_one_after_the_other() -> None:
    told = Told()
    tasks = [Task("a", halves, (1,)), Task("b", halves, (2,), cost=3)]
    done = LocalExecutor().run(10, tasks, told)
    assert [(task.name, result) for task, result in done] == [("a", 11), ("b", 12)]
    # Only the tasks' own updates arrive: a caller that times steps would count an update of the setup as a step.
    words = ("a", "a: almost there", "b", "b: almost there")
    assert told.updates == [(done, 4, doing, {}) for done, doing in zip((0.5, 1, 2.5, 4), words, strict=True)]
