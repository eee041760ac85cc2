"""The cost of a study of continual learning: operations by counting, seconds by trials of a few steps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from dsactl.engine.clock import Clock
from dsactl.engine.session import Session
from dsactl.methods.operations import GRADIENT, forward_operations
from dsactl.runs.cost import making_operations
from dsactl.studies.continual.learner import Images, Learner, Phase
from dsactl.studies.continual.memory import NONE
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.run import CONDENSED, ContinualRun
from dsactl.studies.costs import Cost, estimate

_TRIAL = 4  # steps; the first warms up
_FORWARD = 1 / 3  # cost of a forward pass, of a teacher or a test, relative to a step
Key = tuple[object, ...]
"""The key of a piece of work: a set or a phase, which several runs may share."""


@dataclass(frozen=True)
class StudyCost:
    """The estimated cost of a study.

    Attributes:
        sets: of the memories.
        phases: number of phases to train, including those with a cached result.
        learning: seconds of training and testing in them.
    """

    sets: Cost
    phases: int
    learning: float


@dataclass(frozen=True)
class _PhaseWork:
    """The work of a phase.

    Attributes:
        key: its key.
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


class Operations:
    """The floating-point operations of a study, run by run; each piece of work counts once, in its first run.

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

    def done(self, index: int, stages_done: float) -> float:
        """Return the operations done within a run, after all earlier runs.

        Args:
            index: of the run.
            stages_done: with a fraction for the stage in progress, in which all pieces count equally.
        """
        operations, stages = self._runs[index]
        whole = min(int(stages_done), len(stages))
        operations += sum(map(sum, stages[:whole]))
        if whole < len(stages):
            place = (stages_done - whole) * len(stages[whole])
            for number, weight in enumerate(stages[whole]):
                operations += weight * min(1.0, max(0.0, place - number))
        return operations


def count_operations(study: PreparedStudy, device: str) -> Operations:
    """Return the operations of a study's runs."""
    entries, jobs = study.first_sets(device)
    sets = {entry.key: making_operations(job.recipe, job.dataset) for entry, job in zip(entries, jobs, strict=True)}
    forward = forward_operations(study.settings.network, study.tasks[0].dataset)
    runs = []
    for run in study.runs:
        stages: list[list[tuple[Key, float]]] = [[] for _ in study.tasks]
        for stage, task in enumerate(study.tasks):
            if run.memory.method != NONE:
                key = (run.memory.method, task.name)
                stages[stage].append(((run.repeat, *key), sets[key]))
        for work in _phases_of(study, run):
            images = work.phase.steps * min(study.settings.batch, work.images)
            operations = forward * images * (GRADIENT + work.teachers) + forward * work.tested
            stages[work.stage].append((work.key, operations))
        runs.append(stages)
    return Operations(runs, study.repeats * sum(sets.values()))


def estimate_cost(study: PreparedStudy, session: Session) -> StudyCost:
    """Estimate the cost by counting operations, and by trials.

    Args:
        study: see `PreparedStudy`.
        session: has the store with the finished sets. Its meter counts trials.
    """
    entries, jobs = study.first_sets(str(session.device))
    sets = estimate(entries, jobs, study.repeats, session, tested=False)
    phases = list({work.key: work for run in study.runs for work in _phases_of(study, run)}.values())
    limit = study.settings.batch
    sizes = {min(limit, work.images) for work in phases}
    per_image = {size: _time_step(study, size, session.device) / size for size in sizes}
    seconds = 0.0
    for work in phases:
        step = work.images / -(-work.images // limit)  # mean images per step of a pass
        seconds += work.phase.steps * step * (1 + _FORWARD * work.teachers) * per_image[min(limit, work.images)]
        seconds += work.tested * _FORWARD * min(per_image.values())
    return StudyCost(sets, len(phases), seconds)


def _phases_of(study: PreparedStudy, run: ContinualRun) -> Iterator[_PhaseWork]:
    learn, balance = study.settings.learn, study.settings.balance
    method, ipc, seen, tested = run.memory.method, run.memory.ipc, 0, 0
    for stage, task in enumerate(study.tasks):
        classes, real = task.dataset.classes, task.dataset
        new = classes * ipc if run.new_data == CONDENSED else len(real.train)
        kept = 0 if method == NONE else seen * ipc
        seen, tested = seen + classes, tested + len(real.test)
        teachers = int(run.distilled and stage > 0)
        # The first phase depends on the memory only if it trains on the task's set.
        own = (method, run.distilled) if stage else (method,) if run.new_data == CONDENSED else ()
        key = (run.repeat, stage, own, "learn")
        yield _PhaseWork(key, stage, new + kept, learn, teachers, 0 if kept else tested)
        if kept:
            key = (run.repeat, stage, own, "balance")
            yield _PhaseWork(key, stage, seen * ipc, balance, 2 * teachers, tested)


def _time_step(study: PreparedStudy, batch: int, device: torch.device) -> float:
    """Time one step of SGD without a teacher, in seconds."""
    task = study.tasks[0]
    first = task.dataset.to(device)
    learner = Learner(study.settings, (first.channels, *first.size), device)
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
