"""Studies of continual learning: tasks, memories, with and without distillation; their plans and estimated costs."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dsactl.data.views import split_name
from dsactl.engine.session import Session
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.methods.operations import GRADIENT, Clock, forward_operations
from dsactl.runs.cost import making_operations
from dsactl.runs.job import Job
from dsactl.studies.continual.learner import Images, Learner, Phase, Settings
from dsactl.studies.continual.memory import NONE, Memory
from dsactl.studies.continual.run import CONDENSED, REAL, REVISION, ContinualRun, SetKey
from dsactl.studies.continual.tasks import Task
from dsactl.studies.costs import Cost, estimate
from dsactl.studies.entries import Entry
from dsactl.text.formatting import many

_TRIAL = 4  # steps; the first warms up
_FORWARD = 1 / 3  # cost of a forward pass, of a teacher or a test, relative to a step
PAPER_TASKS = ("svhn", "mnist", "usps")
PAPER_SHAPE = (3, 32, 32)
Key = tuple[object, ...]
"""The key of a piece of work."""


@dataclass(frozen=True)
class _Work:
    """The work of a phase.

    Attributes:
        key: its key, so that it is counted once.
        stage: from 0.
        images: number of training images.
        phase: its steps.
        teachers: number of teachers.
        tested: number of test images at its end.
    """

    key: Key
    stage: int
    images: int
    phase: Phase
    teachers: int
    tested: int


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
        entries, jobs = self._sets(device)
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
        self._sets(device)

    def meter(self, device: str) -> "Meter":
        """Return the meter of the runs' progress."""
        entries, jobs = self._sets(device)
        sets = {entry.key: making_operations(job.recipe, job.dataset) for entry, job in zip(entries, jobs, strict=True)}
        first = self.tasks[0].dataset
        forward = forward_operations(self.settings.network, first)
        runs = []
        for run in self.runs:
            stages: list[list[tuple[Key, float]]] = [[] for _ in self.tasks]
            for stage, task in enumerate(self.tasks):
                if run.memory.method != NONE:
                    key = (run.memory.method, task.name)
                    stages[stage].append(((run.repeat, *key), sets[key]))
            for work in self._phases_of(run):
                images = work.phase.steps * min(self.settings.batch, work.images)
                operations = forward * images * (GRADIENT + work.teachers) + forward * work.tested
                stages[work.stage].append((work.key, operations))
            runs.append(stages)
        return Meter(runs, self.repeats * sum(sets.values()))

    def cost(self, session: Session) -> tuple[Cost, int, float]:
        """Estimate the cost by counting operations, and by trials.

        Args:
            session: has the store with the finished sets. Its meter counts trials.

        Returns:
            The cost of the sets; the number of phases; and their seconds, including those of cached phases.
        """
        entries, jobs = self._sets(str(session.device))
        cost = estimate(entries, jobs, self.repeats, session, tested=False)
        phases = self._phases()
        sizes = {self._batch(work) for work in phases}
        per_image = {size: self._step(size, session.device) / size for size in sizes}
        seconds = 0.0
        for work in phases:
            step = work.images / -(-work.images // self.settings.batch)  # mean images per step of a pass
            learned = work.phase.steps * step * (1 + _FORWARD * work.teachers) * per_image[self._batch(work)]
            seconds += learned + work.tested * _FORWARD * min(per_image.values())
        return cost, len(phases), seconds

    def _batch(self, work: _Work) -> int:
        return min(self.settings.batch, work.images)

    def _sets(self, device: str) -> tuple[list[Entry], list[Job]]:
        """Return an entry and a job for each memory and task, of the first repeat."""
        entries, jobs = [], []
        for memory in self.memories:
            for task in self.tasks if memory.method != NONE else ():
                entries.append(Entry((memory.method, task.name), memory.request(task, self.seed), Protocol()))
                jobs.append(memory.job(task, self.seed, device))
        return entries, jobs

    def _phases(self) -> list[_Work]:
        """Return all phases, without repetition: runs share common phases."""
        found = {work.key: work for run in self.runs for work in self._phases_of(run)}
        return list(found.values())

    def _phases_of(self, run: ContinualRun) -> Iterator[_Work]:
        learn, balance = self.settings.learn, self.settings.balance
        method, ipc, seen, tested = run.memory.method, run.memory.ipc, 0, 0
        for stage, task in enumerate(self.tasks):
            classes, real = task.dataset.classes, task.dataset
            new = classes * ipc if run.new_data == CONDENSED else len(real.train)
            kept = 0 if method == NONE else seen * ipc
            seen, tested = seen + classes, tested + len(real.test)
            teachers = int(run.distilled and stage > 0)
            # The first phase depends on the memory only if it trains on the task's set.
            own = (method, run.distilled) if stage else (method,) if run.new_data == CONDENSED else ()
            key = (run.repeat, stage, own, "learn")
            yield _Work(key, stage, new + kept, learn, teachers, 0 if kept else tested)
            if kept:
                key = (run.repeat, stage, own, "balance")
                yield _Work(key, stage, seen * ipc, balance, 2 * teachers, tested)

    def _step(self, batch: int, device: torch.device) -> float:
        """Time one step of SGD without a teacher, in seconds."""
        task = self.tasks[0]
        first = task.dataset.to(device)
        learner = Learner(self.settings, (first.channels, *first.size), device)
        # Images may repeat: a memory can have more of them than the first task.
        indices_B = torch.arange(batch, device=device) % len(first.train)
        few_BCHW, labels_B = first.at(indices_B), first.train.labels_N[indices_B]
        clock = Clock(device)
        clock.mark()

        def keep(_done: int, _total: int, _tensors: object) -> None:
            clock.mark()

        images = Images(few_BCHW.__getitem__, labels_B, ())
        learner.train(learner.grown(None, task.outputs, 0), images, Phase(_TRIAL, 0.01), 0, keep=keep)
        return clock.fastest()


class Meter:
    """The progress of a study in operations, each piece counted once.

    Attributes:
        sets: operations of the pieces that are sets.
        total: operations of all pieces.

    Args:
        runs: the pieces of each run, stage by stage, with keys and operations.
        sets: operations of the pieces that are sets.
    """

    def __init__(self, runs: Sequence[Sequence[Sequence[tuple[Key, float]]]], sets: float = 0.0) -> None:
        seen, self.sets, self.total = set[Key](), sets, 0.0
        self._runs: list[tuple[float, list[list[float]]]] = []
        for stages in runs:
            # A piece of an earlier run costs nothing here, but is still listed.
            weights = [[0.0 if key in seen else weight for key, weight in pieces] for pieces in stages]
            self._runs.append((self.total, weights))
            self.total += sum(map(sum, weights))
            seen.update(key for pieces in stages for key, _ in pieces)

    def operations(self, index: int, done: float) -> float:
        """Return the operations done within a run, after all earlier runs.

        Args:
            index: of the run.
            done: number of stages, with a fraction for the one in progress, in which all pieces count equally.
        """
        operations, stages = self._runs[index]
        whole = min(int(done), len(stages))
        operations += sum(map(sum, stages[:whole]))
        if whole < len(stages):
            place = (done - whole) * len(stages[whole])
            for number, weight in enumerate(stages[whole]):
                operations += weight * min(1.0, max(0.0, place - number))
        return operations
