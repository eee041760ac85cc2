"""What a study of continual learning is: tasks, memories, ways to learn; its plan, and its cost before it is begun."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

import registry
from dsactl.continual.learner import Images, Learner, Phase, Settings
from dsactl.continual.memory import NONE, Memory, all_of
from dsactl.continual.run import REAL, Course
from dsactl.continual.tasks import Task
from dsactl.cost import Clock
from dsactl.evaluation import Protocol
from dsactl.jobs import Job
from dsactl.studies.cells import Entry
from dsactl.studies.costs import Cost, estimate

_TRIAL = 4  # epochs of one batch; the first warms up


@dataclass(frozen=True)
class Study:
    """All courses of a sequence of tasks.

    Attributes:
        tasks: in their order.
        memories: to compare.
        ways: with distillation, without, or both.
        repeats: of each course.
        settings: of the network and its training.
        new_data: as of `Course`.
        seed: the root of every draw.
    """

    tasks: Sequence[Task]
    memories: Sequence[Memory]
    ways: Sequence[bool]
    repeats: int
    settings: Settings
    new_data: str = REAL
    seed: int = 0

    @property
    def courses(self) -> list[Course]:
        """Repeat by repeat, so that early results are of all memories."""
        return [
            Course(memory, distilled, repeat, self.new_data)
            for repeat in range(self.repeats)
            for memory in self.memories
            for distilled in self.ways
        ]

    @property
    def plan(self) -> dict[str, Any]:
        """What makes two studies the same, whichever memories, ways and repeats are asked for."""
        first = self.tasks[0].dataset
        return {
            "tasks": [task.name for task in self.tasks],
            "images": [task.dataset.checksums for task in self.tasks],
            "shape": [first.channels, *first.size],
            "normalisation": [{"mean": task.dataset.mean, "std": task.dataset.std} for task in self.tasks],
            "ipc": self.memories[0].ipc,
            "iterations": self.memories[0].iterations,
            "new data": self.new_data,
            "seed": self.seed,
            "settings": {**asdict(self.settings), "network": self.settings.network.label(first.channels, first.size)},
        }

    def check(self, device: str) -> None:
        """Refuse memories that cannot be made, before anything is.

        Raises:
            dsactl.Error: says what cannot work.
        """
        self._sets(device)

    def cost(
        self,
        store: registry.Store,
        device: torch.device,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Cost, int, float]:
        """Count and try.

        Args:
            store: tells which sets are there.
            device: where to compute.
            report: told of trials that are done, of how many.

        Returns:
            The cost of the sets; phases to learn; and seconds for them, of which those that were learned before are
            counted too.
        """
        entries, jobs = self._sets(str(device))
        cost = estimate(entries, jobs, self.repeats, store, report, tested=False)
        phases = self._phases()
        return cost, len(phases), self._step(device) * sum(steps * weight for steps, weight in phases)

    def _sets(self, device: str) -> tuple[list[Entry], list[Job]]:
        """What is to be made of each task by each memory, for the first repeat."""
        entries, jobs = [], []
        for memory in self.memories:
            for task in self.tasks if memory.method != NONE else ():
                entries.append(Entry((memory.method, task.name), memory.request(task, self.seed), Protocol()))
                jobs.append(memory.job(task, self.seed, device))
        return entries, jobs

    def _phases(self) -> list[tuple[int, float]]:
        """Steps of each phase, and what a step of it weighs: with a teacher a third more, by its forward pass."""
        learn, balance = self.settings.learn.steps, self.settings.balance.steps
        found = [(learn, 1.0)] * self.repeats
        for course in self.courses:
            weight = 4 / 3 if course.distilled else 1.0
            each = [(learn, weight)] if course.memory.method == NONE else [(learn, weight), (balance, weight)]
            found += each * (len(self.tasks) - 1)
        return found

    def _step(self, device: torch.device) -> float:
        """Seconds of one step of SGD."""
        task, batch = self.tasks[0], self.settings.batch
        first = task.dataset
        learner = Learner(self.settings, (first.channels, *first.size), device)
        whole = all_of(task)
        few = Images(whole.at, whole.labels_N[:batch], whole.origin)
        clock = Clock(device)
        clock.mark()

        def keep(_done: int, _total: int, _tensors: object) -> None:
            clock.mark()

        learner.train(learner.grown(None, task.outputs, 0), few, Phase(_TRIAL, 0.01), 0, keep=keep)
        return clock.fastest()
