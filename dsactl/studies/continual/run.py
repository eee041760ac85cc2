"""Runs of continual learning: a network is trained on task after task, and cached after every phase.

Each phase is stored in the store's home, under a key of the previous phase and of everything that it depends on itself:

    runs/continual/KEY.safetensors          the network after the phase, its seconds, and accuracies if a stage ends
    runs/continual/KEY.part.safetensors     the checkpoint of its training, until it is finished
    runs/continual/KEY.lock                 held by the process that works on it

So interrupted runs are resumed, and runs share their common first phases, also at the same time.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import registry
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import prepare_device
from dsactl.engine.locks import hold
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode
from dsactl.engine.native import library
from dsactl.engine.progress import Progress
from dsactl.engine.random import derive_seed
from dsactl.engine.session import Session
from dsactl.errors import INTERRUPTS, RunError
from dsactl.evaluation.task import in_batches
from dsactl.runs.run import find_made
from dsactl.studies.continual.learner import Images, Learner, Network, Phase, Settings, Teacher, network_of
from dsactl.studies.continual.memory import NONE, Memory, all_of, images_of
from dsactl.studies.continual.tasks import Task
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from dsactl.training.sgd import count_correct
from registry.manifest import key_of

REVISION = 3
"""Must be raised when a change of the program changes the result of a phase."""
REAL, CONDENSED = "real", "condensed"
CHECKPOINT_SECONDS = 5.0
SetKey = tuple[str, str, int]
"""The key of a set in a study: the memory's method, the task's name, the repeat."""


@dataclass(frozen=True)
class ContinualRun:
    """The training of one network on all tasks.

    Attributes:
        memory: of each task.
        distilled: whether there is distillation from the earlier network.
        repeat: index from 0; repeats have different random numbers and sets.
        new_data: "real", or "condensed" for the new task's set instead of its images.
    """

    memory: Memory
    distilled: bool
    repeat: int
    new_data: str = REAL

    @property
    def key(self) -> tuple[str, bool, int]:
        """The key of the run in a study."""
        return self.memory.method, self.distilled, self.repeat

    @property
    def in_words(self) -> str:
        """A description: memory, distillation, and repeat counted from 1."""
        return f"{self.memory.method}{', distilled' if self.distilled else ''}, repeat {self.repeat + 1}"


@dataclass(frozen=True)
class Outcome:
    """The results of a run.

    Attributes:
        rows: accuracies in percent after each stage, of the tasks so far.
        references: of the sets, task by task; empty without a memory.
        seconds: of training, in this or earlier calls; phases that runs share count in each.
    """

    rows: tuple[tuple[float, ...], ...]
    references: tuple[str, ...]
    seconds: float


class _MissingError(Exception):
    """A result is not cached, and was only to be looked up."""


@dataclass(frozen=True)
class _Step:
    """A phase with everything that it depends on, except the network that it starts from."""

    what: str
    phase: Phase
    images: Images
    teachers: Sequence[Teacher]
    seed: int
    tested: Sequence[Task]


class Runner:
    """The runner of runs on one sequence of tasks.

    Args:
        tasks: in their order.
        settings: of the network and its training.
        store: holds sets and phases.
        device: where to compute.
        seed: the random seed.
        sets: sets made before, by method, task and repeat; others are made when they are needed.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        settings: Settings,
        store: registry.Store,
        device: torch.device,
        seed: int = 0,
        sets: Mapping[SetKey, SyntheticSet] | None = None,
    ) -> None:
        prepare_device(device)
        if device.type == "cpu":
            keep_freed_memory()
        self._tasks = [replace(task, dataset=task.dataset.to(device)) for task in tasks]
        self._settings, self._store, self._device, self._seed = settings, store, device, seed
        self._folder = store.home / "runs" / "continual"
        self._failed: dict[str, RunError] = {}
        self._sets, self._lookup_only = sets or {}, False
        first = tasks[0].dataset
        self._learner = Learner(settings, (first.channels, *first.size), device)

    def run(self, run: ContinualRun, progress: Progress) -> Outcome:
        """Run a run on all tasks.

        Args:
            run: see `ContinualRun`.
            progress: counts stages; all pieces of a stage count equally.

        Raises:
            RunError: the network diverged, or a set cannot be made.
        """
        seed = derive_seed(self._seed, "continual learning", run.repeat)
        known: Network | None = None
        sets: list[tuple[Task, SyntheticSet]] = []
        rows, seconds = [], 0.0
        for stage, task in enumerate(self._tasks):
            part = progress.part(stage, 1, len(self._tasks), task.name)
            known, row, spent = self._stage(run, stage, sets, known, derive_seed(seed, "stage", stage), part)
            rows.append(row)
            seconds += spent
        return Outcome(tuple(rows), tuple(synthetic.reference for _, synthetic in sets), seconds)

    def find(self, run: ContinualRun) -> Outcome | None:
        """Return the outcome of a finished run; None if anything of it would have to be computed."""
        self._lookup_only = True
        try:
            return self.run(run, Progress())
        except _MissingError:
            return None
        finally:
            self._lookup_only = False

    def _stage(
        self,
        run: ContinualRun,
        stage: int,
        sets: list[tuple[Task, SyntheticSet]],
        known: Network | None,
        seed: int,
        progress: Progress,
    ) -> tuple[Network, tuple[float, ...], float]:
        """Learn a task, and balance if there is a memory of earlier ones; append the task's own set to `sets`."""
        task, seen, earlier = self._tasks[stage], self._tasks[: stage + 1], list(sets)
        remembers = run.memory.method != NONE
        parts = remembers + 1 + bool(earlier)
        if remembers:
            sets.append((task, self._memory_set(run, task, progress.part(0, 1, parts))))
        new = images_of(sets[-1:], task.outputs, self._device) if run.new_data == CONDENSED else all_of(task)
        images = new + images_of(earlier, task.outputs, self._device) if earlier else new
        network = self._learner.grown(known, task.outputs, seed)
        teachers = [Teacher(known, 0, known.outputs)] if known is not None and run.distilled else []
        step = _Step("learning", self._settings.learn, images, teachers, seed, () if earlier else seen)
        network, about = self._run_phase(step, network, progress.part(int(remembers), 1, parts))
        seconds = about["seconds"]
        if earlier:
            teachers += [Teacher(network, task.first, task.outputs)] if run.distilled else []
            images, draws = images_of(sets, task.outputs, self._device), derive_seed(seed, "balancing")
            step = _Step("balancing", self._settings.balance, images, teachers, draws, seen)
            network, about = self._run_phase(step, network, progress.part(2, 1, parts))
            seconds += about["seconds"]
        return network, tuple(about["accuracies"]), seconds

    def _memory_set(self, run: ContinualRun, task: Task, progress: Progress) -> SyntheticSet:
        """Return the set of a task."""
        there = self._sets.get((run.memory.method, task.name, run.repeat))
        if there is not None:
            return there
        job = run.memory.job(task, self._seed, str(self._device)).with_seed(run.repeat)
        if self._lookup_only:
            stored = find_made(self._store, job)
            if stored is None:
                raise _MissingError
            return from_store(self._store, stored)

        here = Session(self._store, self._device, progress=progress.part(0, 1, 1, f"set by {run.memory.method}"))
        return run.memory.make(job, here)

    def _run_phase(self, step: _Step, network: Network, progress: Progress) -> tuple[Network, Mapping[str, Any]]:
        """Run or resume a phase, look it up, or wait for another process that runs it."""
        key = self._key(step, network)
        if key in self._failed:
            raise self._failed[key]
        found = self._found(key, network.outputs)
        if found is None and self._lookup_only:
            raise _MissingError
        if found is None:
            with _locked(
                self._folder / f"{key}.lock", lambda: progress.update(0, 1, f"{step.what}, in another process")
            ):
                found = self._found(key, network.outputs) or self._make(key, step, network, progress)
        learned, about = found
        return replace(learned, key=key), about

    def _found(self, key: str, outputs: int) -> tuple[Network, Mapping[str, Any]] | None:
        """Return the cached result of a phase; None if it is missing or damaged."""
        kept = _read(self._folder / f"{key}.safetensors", self._device)
        return None if kept is None else (network_of(kept[0], outputs), kept[1])

    def _make(self, key: str, step: _Step, network: Network, progress: Progress) -> tuple[Network, Mapping[str, Any]]:
        part = self._folder / f"{key}.part.safetensors"
        kept, before = _read(part, self._device) or ({}, {"seconds": 0.0})
        began = saved = time.monotonic()
        last: dict[str, Tensor] = {}

        def spent() -> float:
            return float(before["seconds"]) + time.monotonic() - began

        def save() -> None:
            save_checkpoint(part, last, {"seconds": spent()})

        def keep(done: int, total: int, tensors: dict[str, Tensor]) -> None:
            nonlocal saved, last
            last = tensors
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
            progress.update(done, total, f"{step.what}, step {done} of {total}")

        how: dict[str, Any] = {"kept": kept, "keep": keep}
        try:
            learned = self._learner.train(network, step.images, step.phase, step.seed, step.teachers, **how)
        except RunError as error:
            self._failed[key] = error
            part.unlink(missing_ok=True)
            raise
        except INTERRUPTS:
            if last:
                save()
            raise
        about = {"seconds": spent(), "accuracies": [self._test(learned, task) for task in step.tested]}
        save_checkpoint(self._folder / f"{key}.safetensors", learned.tensors(), about)
        part.unlink(missing_ok=True)
        return learned, about

    def _key(self, step: _Step, network: Network) -> str:
        """Return the cache key of a phase: a digest of everything that its result depends on."""
        settings = asdict(self._settings)
        del settings["learn"], settings["balance"]
        if not step.teachers:
            del settings["distillation"], settings["temperature"]
        decisive = {
            "before": network.key,
            "outputs": network.outputs,
            "images": list(step.images.origin),
            "phase": asdict(step.phase),
            "teachers": [[each.network.key, each.first, each.end] for each in step.teachers],
            "seed": step.seed,
            "tested": [
                [task.dataset.test.checksum(), task.first, *task.dataset.mean, *task.dataset.std]
                for task in step.tested
            ],
            "settings": json.loads(json.dumps(settings)),
            "mode": Mode(self._device.type, native=self._device.type == "cpu" and library() is not None).to_dict(),
            "torch": torch.__version__,
            "revision": REVISION,
        }
        return key_of(decisive)

    def _test(self, network: Network, task: Task) -> float:
        """Return the accuracy on a task's test images among all outputs, percent."""
        test, real = task.dataset.test, task.dataset
        right = count_correct(
            self._learner.structure(network.outputs),
            network.parameters,
            network.buffers,
            ((images, labels + task.first) for images, labels in in_batches(test, real.normalise)),
            self._settings.precision,
        )
        return 100 * right / len(test)


def _read(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and description of a checkpoint; None if it is missing or damaged and must be recomputed."""
    try:
        return read_checkpoint(path.read_bytes(), path, device)
    except (FileNotFoundError, RunError):
        return None


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock, after waiting for a process that holds it.

    The lock's file is removed at the end; the next process to get the lock looks first whether any work is left.

    Raises:
        StoreError: the folder cannot be written to.
    """
    lock = hold(path, waiting)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
