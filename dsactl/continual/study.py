"""What a study of continual learning is: tasks, memories, ways to learn; its plan, and its cost before it is begun."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl.continual.learner import Images, Learner, Phase, Settings
from dsactl.continual.memory import NONE, Memory
from dsactl.continual.run import CONDENSED, REAL, REVISION, Course, SetKey
from dsactl.continual.tasks import Task
from dsactl.data.views import split_name
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.methods.operations import GRADIENT, Clock, forward_operations
from dsactl.runs.cost import making_operations
from dsactl.runs.job import Job
from dsactl.studies.costs import Cost, estimate
from dsactl.studies.entries import Entry

_TRIAL = 4  # steps; the first warms up
_FORWARD = 1 / 3  # of a step: what a teacher's answers cost, and a test
PAPER_TASKS = ("svhn", "mnist", "usps")
PAPER_SHAPE = (3, 32, 32)
Key = tuple[object, ...]
"""What tells a piece of work from others."""


@dataclass(frozen=True)
class _Work:
    """A phase before it is made.

    Attributes:
        key: what tells it from others, so that it is counted once.
        stage: from 0 on.
        images: that it learns from.
        phase: how long.
        teachers: how many.
        tested: test images at its end.
    """

    key: Key
    stage: int
    images: int
    phase: Phase
    teachers: int
    tested: int


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
            "iterations": self.memories[0].iterations if any(each.iterates for each in self.memories) else None,
            "new data": self.new_data,
            "seed": self.seed,
            "revision": REVISION,
            "settings": {**asdict(self.settings), "network": self.settings.network.label(first.channels, first.size)},
        }

    @property
    def title(self) -> str:
        """Of the plot: the data set whose classes come in parts, and the size of the memory."""
        words = f"{self.memories[0].ipc} images per class and task in memory"
        if self.tasks[-1].first == 0:
            return words
        base, _ = split_name(self.tasks[0].source)
        return f"{Path(base).name}, {words}"

    @property
    def is_papers(self) -> bool:
        """Whether all that the paper says of its study is so here."""
        first = self.tasks[0].dataset
        return (
            tuple(task.name for task in self.tasks) == PAPER_TASKS
            and all(task.image_size is None for task in self.tasks)
            and (first.channels, *first.size) == PAPER_SHAPE
            and self.new_data == REAL
            and all((memory.ipc, memory.iterations) == (10, None) for memory in self.memories)
        )

    def sets(self, device: str) -> dict[SetKey, Job]:
        """What makes the sets of all repeats."""
        entries, jobs = self._sets(device)
        return {
            (entry.key[0], entry.key[1], repeat): job.with_seed(repeat)
            for repeat in range(self.repeats)
            for entry, job in zip(entries, jobs, strict=True)
        }

    def check(self, device: str) -> None:
        """Refuse memories that cannot be made, before anything is.

        Raises:
            UsageError: a memory is larger than a class.
            dsactl.Error: says what else cannot work.
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
        """Tells how far the courses are."""
        entries, jobs = self._sets(device)
        sets = {entry.key: making_operations(job.recipe, job.dataset) for entry, job in zip(entries, jobs, strict=True)}
        first = self.tasks[0].dataset
        forward = forward_operations(self.settings.network, first)
        courses = []
        for course in self.courses:
            stages: list[list[tuple[Key, float]]] = [[] for _ in self.tasks]
            for stage, task in enumerate(self.tasks):
                if course.memory.method != NONE:
                    key = (course.memory.method, task.name)
                    stages[stage].append(((course.repeat, *key), sets[key]))
            for work in self._phases_of(course):
                images = work.phase.steps * min(self.settings.batch, work.images)
                operations = forward * images * (GRADIENT + work.teachers) + forward * work.tested
                stages[work.stage].append((work.key, operations))
            courses.append(stages)
        return Meter(courses, self.repeats * sum(sets.values()))

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
        sizes = {self._batch(work) for work in phases}
        per_image = {size: self._step(size, device) / size for size in sizes}
        seconds = 0.0
        for work in phases:
            step = work.images / -(-work.images // self.settings.batch)  # images, in the mean over a pass
            learned = work.phase.steps * step * (1 + _FORWARD * work.teachers) * per_image[self._batch(work)]
            seconds += learned + work.tested * _FORWARD * min(per_image.values())
        return cost, len(phases), seconds

    def _batch(self, work: _Work) -> int:
        return min(self.settings.batch, work.images)

    def _sets(self, device: str) -> tuple[list[Entry], list[Job]]:
        """What is to be made of each task by each memory, for the first repeat."""
        entries, jobs = [], []
        for memory in self.memories:
            for task in self.tasks if memory.method != NONE else ():
                entries.append(Entry((memory.method, task.name), memory.request(task, self.seed), Protocol()))
                jobs.append(memory.job(task, self.seed, device))
        return entries, jobs

    def _phases(self) -> list[_Work]:
        """What is to be learned, each phase once: courses share what they have in common."""
        found = {work.key: work for course in self.courses for work in self._phases_of(course)}
        return list(found.values())

    def _phases_of(self, course: Course) -> Iterator[_Work]:
        learn, balance = self.settings.learn, self.settings.balance
        method, ipc, seen, tested = course.memory.method, course.memory.ipc, 0, 0
        for stage, task in enumerate(self.tasks):
            classes, real = task.dataset.classes, task.dataset
            new = classes * ipc if course.new_data == CONDENSED else len(real.train)
            kept = 0 if method == NONE else seen * ipc
            seen, tested = seen + classes, tested + len(real.test)
            teachers = int(course.distilled and stage > 0)
            # What the first task gives depends on the memory only where it is learned from its set.
            own = (method, course.distilled) if stage else (method,) if course.new_data == CONDENSED else ()
            key = (course.repeat, stage, own, "learn")
            yield _Work(key, stage, new + kept, learn, teachers, 0 if kept else tested)
            if kept:
                key = (course.repeat, stage, own, "balance")
                yield _Work(key, stage, seen * ipc, balance, 2 * teachers, tested)

    def _step(self, batch: int, device: torch.device) -> float:
        """Seconds of one step of SGD without a teacher."""
        task = self.tasks[0]
        first = task.dataset.to(device)
        learner = Learner(self.settings, (first.channels, *first.size), device)
        # Images may come again: a memory can have more of them than the first task.
        places_B = torch.arange(batch, device=device) % len(first.train)
        few_BCHW, labels_B = first.at(places_B), first.train.labels_N[places_B]
        clock = Clock(device)
        clock.mark()

        def keep(_done: int, _total: int, _tensors: object) -> None:
            clock.mark()

        images = Images(few_BCHW.__getitem__, labels_B, ())
        learner.train(learner.grown(None, task.outputs, 0), images, Phase(_TRIAL, 0.01), 0, keep=keep)
        return clock.fastest()


class Meter:
    """How far a study is, as a share of its operations, each piece counted once.

    Args:
        courses: of each course, stage by stage, its pieces: what tells them from others, and operations.
        sets: operations of those pieces that are sets.
    """

    def __init__(self, courses: Sequence[Sequence[Sequence[tuple[Key, float]]]], sets: float = 0.0) -> None:
        seen, self._total = set[Key](), 0.0
        self._courses: list[tuple[float, list[list[float]]]] = []
        for stages in courses:
            # A piece that another course has done is no work here, but keeps its place.
            weights = [[0.0 if key in seen else weight for key, weight in pieces] for pieces in stages]
            self._courses.append((self._total, weights))
            self._total += sum(map(sum, weights))
            seen.update(key for pieces in stages for key, _ in pieces)
        self._sets = sets

    def share_apart(self, sets: float, courses: float) -> float:
        """Where all sets are made first: after shares of their operations, and then of the courses', 0 … 1."""
        of_sets = self._sets / self._total if self._total else 0.0
        return of_sets * sets + (1 - of_sets) * courses

    def share(self, index: int, done: float) -> float:
        """After so many stages of a course, when all before it are done.

        Args:
            index: of the course.
            done: stages, with a fraction for the one in progress, in which each piece has an equal part.
        """
        operations, stages = self._courses[index]
        whole = min(int(done), len(stages))
        operations += sum(map(sum, stages[:whole]))
        if whole < len(stages):
            place = (done - whole) * len(stages[whole])
            for number, weight in enumerate(stages[whole]):
                operations += weight * min(1.0, max(0.0, place - number))
        return operations / self._total if self._total else 1.0
