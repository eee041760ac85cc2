"""Independent tasks: one after the other in this process, or side by side on Ray (`on_ray`).

A task is a function of what it is given, and gives a small result: it may be done anywhere, and done again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

Result = TypeVar("Result")
Report = Callable[[float, str], None]
"""Told what share of the work is done, 0 … 1 by the tasks' costs, and what is done now."""


@dataclass(frozen=True)
class Task(Generic[Result]):
    """Work for somebody.

    Attributes:
        name: what it is called in messages.
        work: a function of a module, called with the shared value, the arguments, and what it tells its share to.
        arguments: small values.
        cost: above 0, in any unit, to begin with the dearest, and to tell how far the work is.
    """

    name: str
    work: Callable[..., Result]
    arguments: tuple[Any, ...] = ()
    cost: float = 1.0


@dataclass(frozen=True)
class Failure:
    """A task that was tried and given up.

    Attributes:
        message: why, in one line.
    """

    message: str


class Workers(ABC):
    """Who does the tasks.

    Attributes:
        threads: that each task has on a CPU; None for those of this process.
    """

    threads: int | None = None

    @abstractmethod
    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], report: Report = lambda done, doing: None
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """Do the tasks.

        Args:
            shared: a value that all of them need; sent once to each machine.
            tasks: in any order.
            report: told of the progress.

        Yields:
            Each task with its result, as it is done.

        Raises:
            Exception: as the function raised it.
        """

    def groups(self, networks: int, most: int) -> int:  # noqa: ARG002  (of any number)
        """How many of some networks to give to each, where so many can be trained side by side."""
        return most

    def suited(self, tasks: int) -> "Workers":  # noqa: ARG002  (these do any number)
        """Who of them does so many tasks."""
        return self

    @abstractmethod
    def place(self, device: torch.device) -> str:
        """The name by which a task finds its device, where this process would take that one."""

    @abstractmethod
    def close(self) -> None:
        """Let them go."""


class InProcess(Workers):
    """This process, one task after the other."""

    def run(
        self, shared: Any, tasks: Sequence[Task[Result]], report: Report = lambda done, doing: None
    ) -> Iterator[tuple[Task[Result], Result | Failure]]:
        """As of `Workers`."""
        total, before = sum(task.cost for task in tasks), 0.0
        for task in tasks:

            def tell(share: float, before: float = before, task: Task[Result] = task) -> None:
                report((before + task.cost * share) / total, task.name)

            yield task, task.work(shared, *task.arguments, tell)
            before += task.cost

    def place(self, device: torch.device) -> str:
        """The same."""
        return str(device)

    def close(self) -> None:
        """Nobody is let go."""
