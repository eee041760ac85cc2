"""Continual learning with condensed memories (Section 4.5, Figure 3). Importing this loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.augmentation.strategy import default_strategy
from dsactl.data.catalogue import missing_files
from dsactl.data.views import Shape
from dsactl.engine.arguments import check_seed
from dsactl.engine.words import check_precision
from dsactl.errors import DataError, RunError, UnknownNameError, UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes import methods
from dsactl.studies.continual.tasks import check_splits, check_tasks, splits_of, tasks_of
from dsactl.studies.options import at_least_one, checked_names
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, keeping_finished_work, run_study

if TYPE_CHECKING:
    import registry
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor
    from dsactl.studies.continual.learner import Settings
    from dsactl.studies.continual.prepared import PreparedStudy
    from dsactl.studies.continual.tasks import Task

TASKS, MEMORIES = ("svhn", "mnist", "usps"), ("herding", "dc", "dsa")
"""The paper's."""
WAYS = {"both": (False, True), "on": (True,), "off": (False,)}
"""Values of `distillation`: whether runs are distilled."""
NEW_DATA = ("real", "condensed")
_WITHOUT_SVHN = ["mnist", "usps", "digits"]
_SIDE = 32


@dataclass(frozen=True)
class ContinualLearning(Study):
    """A study of continual learning; its options are checked when it is made.

    Attributes:
        tasks: datasets or image folders, one per task, in this order; a single one with `splits`.
        splits: number of tasks into which the classes of one dataset are split; None for one task per dataset.
        memory: methods that make the memories; "none" is no memory.
        ipc: images per class and task in a memory.
        iterations: of iterative methods; None for the method's default.
        distillation: "both" (runs with and without), "on" or "off".
        repeats: number of repeats, with different seeds and sets.
        precision: "auto", "float32" or "bfloat16".
        new_data: images of a new task: "real", or "condensed" for its condensed set only.
        image_size: side of the images, which get three channels; None for 32, and unchanged with `splits`.
        steps, lr: SGD steps on a new task, and their initial learning rate, which is divided by 10 at half time; None
            for 400 and 0.03.
        balance_steps, balance_lr: on the memory alone; None for 100 and 0.001.
        distillation_weight: of the distillation loss relative to the cross-entropy; None for 0.3.
        seed: the random seed.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """

    command: ClassVar[str] = "continual"

    tasks: Sequence[str] = TASKS
    splits: int | None = None
    memory: Sequence[str] = MEMORIES
    ipc: int = 10
    iterations: int | None = None
    distillation: str = "both"
    repeats: int = 5
    precision: str = "auto"
    new_data: str = "real"
    image_size: int | None = None
    steps: int | None = None
    lr: float | None = None
    balance_steps: int | None = None
    balance_lr: float | None = None
    distillation_weight: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        made = "A method makes the memory of each task; a set that is stored already cannot be one."
        checked_names(self.memory, "memory", [*methods.names(), "none"], made)
        for what, value, known in (("distillation", self.distillation, WAYS), ("new data", self.new_data, NEW_DATA)):
            if value not in known:
                raise UnknownNameError(what, value, known)
        check_precision(self.precision)
        if self.new_data == "condensed" and "none" in self.memory:
            raise UsageError('`memory="none"` has no set to learn a new task from.', "Remove none from `memory`.")
        at_least_one(ipc=self.ipc, repeats=self.repeats, iterations=self.iterations, image_size=self.image_size)
        at_least_one(steps=self.steps, balance_steps=self.balance_steps)
        check_seed(self.seed)
        for name in ("lr", "balance_lr", "distillation_weight"):
            number = getattr(self, name)
            if number is not None and not 0 < number < 1e6:
                raise UsageError(f"`{name}` must be above 0 and below 1e6, not {number}.")
        if self.splits is None:
            check_tasks(self.tasks)
            return
        if len(self.tasks) != 1:
            raise UsageError(f"`splits` takes one dataset, not {len(self.tasks)}.", "Give a single one as `tasks`.")
        check_splits(self.tasks[0], self.splits)

    def hint_without_svhn(self) -> str:
        """Return an addition to a hint if SVHN is one of the tasks and missing; otherwise an empty string."""
        missing = "svhn" in self.tasks and missing_files("svhn")
        return f" Without SVHN: `tasks={_WITHOUT_SVHN!r}`" if missing else ""

    def prepare(self, session: "Session") -> "PreparedStudy":
        """Load the tasks, and refuse memories that cannot be made.

        Args:
            session: its meter is told of remarks.

        Raises:
            dsactl.Error: a dataset cannot be loaded; a memory cannot be made.
        """
        from dsactl.engine.device import resolve_precision
        from dsactl.studies.continual.memory import Memory
        from dsactl.studies.continual.prepared import PreparedStudy

        precision = resolve_precision(self.precision, session.device)
        memories = [Memory(method, self.ipc, self.iterations, precision) for method in dict.fromkeys(self.memory)]
        if self.iterations is not None and not any(each.iterates for each in memories):
            session.progress.remark("`iterations` has no effect on these memories.")
        sequence = self._sequence()
        study = PreparedStudy(
            sequence,
            memories,
            WAYS[self.distillation],
            self.repeats,
            self._settings(sequence, precision),
            self.new_data,
            self.seed,
        )
        study.check(str(session.device))
        _remark_on_classes(sequence, session.progress)
        return study

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Learn the tasks with each memory; see `Study.run`. The meter counts operations."""
        from dsactl.engine.device import describe
        from dsactl.studies.continual.results import Entry, in_order, memories_of, result_of, write
        from dsactl.studies.continual.run_all import run_all
        from dsactl.studies.folder import Folder

        study = self.prepare(session)
        folder, names = Folder(out or Path(self._own_name()), "continual", study.plan), study.names
        with folder.writing():  # so that an unwritable folder is reported now
            earlier = memories_of(folder)
        memories = list(dict.fromkeys([*earlier, *(memory.method for memory in study.memories)]))
        where = describe(session.device, session.executor.choose(len(study.runs)).threads)
        entries: list[Entry] = []
        with keeping_finished_work(lambda: f"{len(entries)} of {len(study.runs)} runs are done"):
            for run, outcome in run_all(study, session):
                if isinstance(outcome, RunError):
                    session.progress.fail(f"{run.in_words}: {outcome.message}", outcome.hint)
                    continue
                entries.append(Entry(*run.key, outcome.rows, outcome.references, outcome.seconds, where))
                write(folder, entries, names, memories, study.title, is_papers=study.is_papers)
        result = result_of(folder, in_order(entries, memories), names, self.repeats, is_papers=study.is_papers)
        failed = len(study.runs) - len(entries)
        return replace(result, failed=f"{failed} of {len(study.runs)} runs" if failed else "")

    def _sequence(self) -> "list[Task]":
        if self.splits is not None:
            size = None if self.image_size is None else Shape(3, self.image_size, self.image_size)
            return splits_of(self.tasks[0], self.splits, size)
        side = self.image_size or _SIDE
        try:
            return tasks_of(self.tasks, Shape(3, side, side))
        except DataError as error:
            raise DataError(error.message, f"{error.hint}{self.hint_without_svhn()}") from None

    def _settings(self, sequence: "Sequence[Task]", precision: str) -> "Settings":
        from dsactl.studies.continual.learner import BALANCE, DISTILLATION, LEARN, Phase, Settings

        first = sequence[0].dataset
        return Settings(
            NetworkSpec().resolve(first.channels, first.size),
            default_strategy(mirrored=all(task.dataset.mirrored for task in sequence)),
            Phase(self.steps or LEARN.steps, self.lr or LEARN.lr),
            Phase(self.balance_steps or BALANCE.steps, self.balance_lr or BALANCE.lr),
            DISTILLATION if self.distillation_weight is None else self.distillation_weight,
            precision=precision,
        )

    def _own_name(self) -> str:
        names = "-".join(dict.fromkeys(Path(name).resolve().name for name in self.tasks))
        return f"continual-{names}" if self.splits is None else f"continual-{names}-{self.splits}"


def _remark_on_classes(sequence: "Sequence[Task]", progress: "Progress") -> None:
    """Tell the meter if tasks that share outputs name a class differently; classes are matched by order."""
    first = sequence[0]
    for task in sequence[1:]:
        pairs = zip(first.dataset.class_names, task.dataset.class_names, strict=True)
        other = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if task.first == first.first and other:
            progress.remark(
                f"Classes are matched by order: {other[0]!r} of {first.name} and {other[1]!r} of {task.name} "
                "share an output."
            )


def continual(
    tasks: Sequence[str] = TASKS,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
    **options: Any,
) -> StudyResult:
    """Learn tasks in sequence with a memory of the earlier ones (Section 4.5, Figure 3).

    Sets and phases that runs have in common are computed once, and an interrupted study is resumed.

    Args:
        tasks: datasets or image folders, one per task, in this order; a single one with `splits`.
        out, device, store, executor, progress: see `dsactl.studies.study.run_study`.
        options: attributes of `ContinualLearning`, e.g. `splits=5`, `memory=["none", "herding"]`, `repeats=3`.

    Raises:
        dsactl.Error: bad input; the store or the folder cannot be written to; the extra "studies" is not installed.

    Examples:
        >>> import dsactl
        >>> result = dsactl.continual(["digits"], splits=2, memory=["random"], ipc=1, distillation="off", repeats=1,
        ...     steps=1, balance_steps=1)
        >>> len(result.values["lines"])
        1
    """
    return run_study(ContinualLearning.of(tasks=tasks, **options), out, device, store, executor, progress)
