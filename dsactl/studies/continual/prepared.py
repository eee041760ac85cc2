"""Studies of continual learning with everything loaded: tasks, memories, with and without distillation; their plans."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsactl.data.views import split_name
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.runs.job import Job
from dsactl.studies.continual.learner import Settings
from dsactl.studies.continual.memory import NONE, Memory
from dsactl.studies.continual.run import REAL, REVISION, ContinualRun, SetKey
from dsactl.studies.continual.tasks import Task
from dsactl.studies.entries import Entry
from dsactl.text.formatting import many

PAPER_TASKS = ("svhn", "mnist", "usps")
PAPER_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class PreparedStudy:
    """All runs of a sequence of tasks.

    Attributes:
        tasks: in their order.
        memories: to compare.
        ways: with distillation, without, or both.
        repeats: of each run.
        settings: of the network and its training.
        new_data: see `ContinualRun`.
        seed: the random seed.
    """

    tasks: Sequence[Task]
    memories: Sequence[Memory]
    ways: Sequence[bool]
    repeats: int
    settings: Settings
    new_data: str = REAL
    seed: int = 0

    @property
    def runs(self) -> list[ContinualRun]:
        """All runs, repeat by repeat, so that early results cover all memories."""
        return [
            ContinualRun(memory, distilled, repeat, self.new_data)
            for repeat in range(self.repeats)
            for memory in self.memories
            for distilled in self.ways
        ]

    @property
    def names(self) -> list[str]:
        """The names of the tasks."""
        return [task.name for task in self.tasks]

    @property
    def plan(self) -> dict[str, Any]:
        """The parameters that must agree between calls with other memories, ways and repeats, as JSON values."""
        first = self.tasks[0].dataset
        return {
            "tasks": self.names,
            "images": [task.dataset.checksums for task in self.tasks],
            "shape": [first.channels, *first.size],
            "normalisation": [{"mean": task.dataset.mean, "std": task.dataset.std} for task in self.tasks],
            "ipc": self.memories[0].ipc,
            "iterations": self.memories[0].iterations if any(each.iterates for each in self.memories) else None,
            "new data": self.new_data,
            "seed": self.seed,
            "revision": REVISION,
            "settings": {**asdict(self.settings), "network": self.settings.network.label(first.channels, first.size)},
        }

    @property
    def title(self) -> str:
        """The title of the plot: the dataset whose classes are split, if any, and the size of the memory."""
        words = f"{many(self.memories[0].ipc, 'image')} per class and task in memory"
        if self.tasks[-1].first == 0:
            return words
        base, _ = split_name(self.tasks[0].source)
        return f"{Path(base).name}, {words}"

    @property
    def is_papers(self) -> bool:
        """Whether everything that the paper states about its study holds."""
        first = self.tasks[0].dataset
        return (
            tuple(self.names) == PAPER_TASKS
            and all(task.image_size is None for task in self.tasks)
            and (first.channels, *first.size) == PAPER_SHAPE
            and self.new_data == REAL
            and all((memory.ipc, memory.iterations) == (10, None) for memory in self.memories)
        )

    def sets(self, device: str) -> dict[SetKey, Job]:
        """Return the jobs of the sets of all repeats."""
        entries, jobs = self.first_sets(device)
        return {
            (entry.key[0], entry.key[1], repeat): job.with_seed(repeat)
            for repeat in range(self.repeats)
            for entry, job in zip(entries, jobs, strict=True)
        }

    def check(self, device: str) -> None:
        """Refuse memories that cannot be made, before any work is done.

        Raises:
            UsageError: a memory is larger than a class.
            dsactl.Error: a memory cannot be made for another reason.
        """
        ipc = max((memory.ipc for memory in self.memories if memory.method != NONE), default=0)
        fewest, task = min(((min(each.dataset.train.counts), each) for each in self.tasks), key=lambda pair: pair[0])
        if ipc > fewest:
            name = task.dataset.class_names[task.dataset.train.counts.index(fewest)]
            raise UsageError(
                f"The smallest class, {name!r} of {task.name}, has {fewest} images, fewer than `ipc={ipc}`.",
                f"Use `ipc={fewest}` or less.",
            )
        self.first_sets(device)

    def first_sets(self, device: str) -> tuple[list[Entry], list[Job]]:
        """Return an entry and a job for the set of each memory and task, of the first repeat."""
        entries, jobs = [], []
        for memory in self.memories:
            for task in self.tasks if memory.method != NONE else ():
                entries.append(Entry((memory.method, task.name), memory.request(task, self.seed), Protocol()))
                jobs.append(memory.job(task, self.seed, device))
        return entries, jobs
