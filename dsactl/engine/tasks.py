"""Independent tasks, run sequentially in this process or in parallel on Ray (`on_ray`).

A task is a pure function of its inputs with a small result: it may run anywhere, and run again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from dsactl.engine.progress import Progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Task(Generic[Result]):
    """A unit of work for an executor.

    Attributes:
        name: name in messages.
        work: a module-level function, called with the shared value, the arguments and a progress meter.
        arguments: small values.
        cost: above 0, in any unit; the most expensive tasks start first, and progress is weighted by it.
    """

    name: str
    work: Callable[..., Result]
    arguments: tuple[Any, ...] = ()
    cost: float = 1.0


@dataclass(frozen=True)
class Failure:
    """A task that failed after all retries.

    Attributes:
        message: the reason, in one line.
    """

    message: str


class Executor(ABC):
    """An executor: runs tasks, locally or on a cluster.

    Attributes:
        threads: CPU threads for each task; None for the number of this process.
    """

    threads: int | None = None

    @abstractmethod
    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], progress: Progress
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """Run the tasks.

        Args:
            shared: a value that all tasks need; sent once to each machine.
            tasks: in any order.
            progress: the meter; tasks count by their costs.

        Yields:
            Each task with its result, in the order of completion.

        Raises:
            Exception: raised by a task's function.
        """

    def group_size(self, networks: int, most: int) -> int:  # noqa: ARG002  (any number)
        """Return how many of `networks` to give to each task, if at most `most` can be trained side by side."""
        return most

    def choose(self, tasks: int) -> "Executor":  # noqa: ARG002  (any number)
        """Return the executor for this number of tasks."""
        return self

    @abstractmethod
    def task_device(self, device: torch.device) -> str:
        """Return the name of the device for a task, given this process's device."""

    @abstractmethod
    def close(self) -> None:
        """Release the workers."""


class LocalExecutor(Executor):
    """An executor that runs tasks one after the other in this process."""

    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], progress: Progress
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """Run the tasks; see `Executor.run`."""
        total, before = sum(task.cost for task in tasks), 0.0
        for task in tasks:
            yield task, task.work(shared, *task.arguments, progress.part(before, task.cost, total, task.name))
            before += task.cost

    def task_device(self, device: torch.device) -> str:
        """Return the name of the given device."""
        return str(device)

    def close(self) -> None:
        """Do nothing: there are no workers to release."""
