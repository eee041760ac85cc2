"""A network goes through the tasks; whatever it learned is kept, and found again by all that went into it.

Each phase lies in the store's home, under a key of the phase before and of everything that it depends on itself:

    runs/continual/KEY.safetensors      the network after the phase, or its training so far
    runs/continual/KEY.json             once it is done: its seconds, and accuracies where a stage ends with it

So an interrupted run goes on where it was, and runs that begin alike, as those of all memories do, share what is alike.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

import registry
from dsactl.continual.learner import Images, Learner, Network, Phase, Settings
from dsactl.continual.memory import NONE, Memory, all_of, images_of
from dsactl.continual.tasks import Task
from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import prepare_device
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode
from dsactl.engine.native import library
from dsactl.engine.random import derive_seed
from dsactl.evaluation import TEST_BATCH
from dsactl.studies.cells import Report
from dsactl.synthetic import SyntheticSet
from dsactl.training import count_correct
from registry.files import write_atomically
from registry.manifest import canonical

REVISION = 1
"""To be raised when a change of the program changes what a phase gives."""
REAL, CONDENSED = "real", "condensed"
CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True)
class Course:
    """One network's way through the tasks.

    Attributes:
        memory: what is kept of each task.
        distilled: whether it keeps to what it knew.
        repeat: which of several, from 0 on: other draws, and other sets.
        new_data: "real", or "condensed" for the new task's set in place of its images.
    """

    memory: Memory
    distilled: bool
    repeat: int
    new_data: str = REAL


@dataclass(frozen=True)
class Outcome:
    """What came of a course.

    Attributes:
        rows: accuracies in percent after each stage, of the tasks so far.
        references: of the sets, task by task; none without a memory.
        seconds: of learning, whenever that was; phases that courses share count in each.
    """

    rows: tuple[tuple[float, ...], ...]
    references: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Step:
    """A phase with all that it depends on, but for the network that it begins with."""

    what: str
    phase: Phase
    images: Images
    teacher: Network | None
    seed: int
    tested: Sequence[Task]


class Runner:
    """Goes through courses of one sequence.

    Args:
        tasks: in their order.
        settings: of the network and its training.
        store: keeps sets and phases.
        device: where to compute.
        seed: the root of every draw.
    """

    def __init__(
        self, tasks: Sequence[Task], settings: Settings, store: registry.Store, device: torch.device, seed: int = 0
    ) -> None:
        prepare_device(device)
        if device.type == "cpu":
            keep_freed_memory()
        self._tasks = [replace(task, dataset=task.dataset.to(device)) for task in tasks]
        self._settings, self._store, self._device, self._seed = settings, store, device, seed
        self._folder = store.home / "runs" / "continual"
        first = tasks[0].dataset
        self._learner = Learner(settings, (first.channels, *first.size), device)

    def run(self, course: Course, report: Report = lambda done, total, doing: None) -> Outcome:
        """Go through all tasks.

        Args:
            course: see `Course`.
            report: told how many stages are done, with a fraction of the one in progress.

        Raises:
            RunError: the network diverged, or a set cannot be made.
        """
        seed = derive_seed(self._seed, "continual learning", course.repeat)
        known: Network | None = None
        sets: list[tuple[Task, SyntheticSet]] = []
        rows, seconds = [], 0.0
        for stage, task in enumerate(self._tasks):

            def tell(share: float, doing: str, stage: int = stage, name: str = task.name) -> None:
                report(stage + share, len(self._tasks), f"{name}: {doing}")

            known, row, spent = self._stage(course, stage, sets, known, derive_seed(seed, "stage", stage), tell)
            rows.append(row)
            seconds += spent
        return Outcome(tuple(rows), tuple(synthetic.reference for _, synthetic in sets), seconds)

    def _stage(
        self,
        course: Course,
        stage: int,
        sets: list[tuple[Task, SyntheticSet]],
        known: Network | None,
        seed: int,
        tell: Callable[[float, str], None],
    ) -> tuple[Network, tuple[float, ...], float]:
        """Learn a task, and balance where there is a memory of earlier ones. The task's own set joins the sets."""
        task, seen, earlier = self._tasks[stage], self._tasks[: stage + 1], list(sets)
        if course.memory.method != NONE:
            sets.append((task, self._remember(course, task, tell)))
        images = images_of(sets[-1:], self._device) if course.new_data == CONDENSED else all_of(task)
        if earlier:
            images += images_of(earlier, self._device)
        network = self._learner.grown(known, task.outputs, seed)
        taught = known if course.distilled else None
        step = _Step("learning", self._settings.learn, images, taught, seed, () if earlier else seen)
        network, about = self._take(step, network, tell)
        seconds = about["seconds"]
        if earlier:
            taught = network if course.distilled else None
            draws = derive_seed(seed, "balancing")
            step = _Step("balancing", self._settings.balance, images_of(sets, self._device), taught, draws, seen)
            network, about = self._take(step, network, tell)
            seconds += about["seconds"]
        return network, tuple(about["accuracies"]), seconds

    def _remember(self, course: Course, task: Task, tell: Callable[[float, str], None]) -> SyntheticSet:
        """The set of a task."""
        job = course.memory.job(task, self._seed, str(self._device)).with_seed(course.repeat)

        def report(done: float, total: int, doing: str) -> None:
            tell(0.0, f"set by {course.memory.method}, {done:g} of {total}, {doing}")

        return course.memory.make(job, self._store, report)

    def _take(
        self, step: _Step, network: Network, tell: Callable[[float, str], None]
    ) -> tuple[Network, Mapping[str, Any]]:
        """Make a step, go on with it, or find it made."""
        key = self._key(step, network)
        done, weights = self._folder / f"{key}.json", self._folder / f"{key}.safetensors"
        kept: dict[str, Tensor] = {}
        earlier = 0.0
        if weights.exists():
            kept, about = read_checkpoint(weights.read_bytes(), weights, self._device)
            earlier = float(about["seconds"])
            if done.exists():
                return replace(self._learner.network_of(kept, network.outputs), key=key), json.loads(done.read_bytes())
        began = saved = time.monotonic()

        def keep(finished: int, total: int, tensors: Callable[[], dict[str, Tensor]]) -> None:
            nonlocal saved
            if finished == total or time.monotonic() - saved >= CHECKPOINT_SECONDS:
                save_checkpoint(weights, tensors(), {"seconds": earlier + time.monotonic() - began})
                saved = time.monotonic()
            tell(finished / total, step.what)

        learned = self._learner.train(network, step.images, step.phase, step.seed, step.teacher, kept=kept, keep=keep)
        seconds = earlier + time.monotonic() - began
        about = {"seconds": seconds, "accuracies": [self._test(learned, task) for task in step.tested]}
        write_atomically(done, canonical(about))
        return replace(learned, key=key), about

    def _key(self, step: _Step, network: Network) -> str:
        """What decides the outcome of a step."""
        settings = asdict(self._settings)
        del settings["learn"], settings["balance"]
        if step.teacher is None:
            del settings["distillation"], settings["temperature"]
        decisive = {
            "before": network.key,
            "outputs": network.outputs,
            "images": list(step.images.origin),
            "phase": asdict(step.phase),
            "teacher": None if step.teacher is None else step.teacher.key,
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
        return hashlib.sha256(canonical(decisive)).hexdigest()[:32]

    def _test(self, network: Network, task: Task) -> float:
        """Accuracy on a task's test images among all outputs, percent."""
        test, real = task.dataset.test, task.dataset
        batches = zip(torch.split(test.images_NCHW, TEST_BATCH), torch.split(test.labels_N, TEST_BATCH), strict=True)
        right = count_correct(
            self._learner.structure(network.outputs),
            network.parameters,
            network.buffers,
            ((real.normalise(pixels), labels + task.first) for pixels, labels in batches),
            self._settings.precision,
        )
        return 100 * right / len(test)
