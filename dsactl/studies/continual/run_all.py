"""The runs of a study: one after the other in this process, or each as a task of an executor (`engine.tasks`).

With workers, all sets are made first. A worker writes the trained networks to the store's home if it can reach it
(`engine.shared_folder`), so that runs share their common phases; otherwise each run trains all of them itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

import registry
from dsactl.engine.progress import NO_FIGURES, ForwardedProgress, Progress
from dsactl.engine.session import Session
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Failure, LocalExecutor, Task
from dsactl.errors import RunError
from dsactl.runs.parallel import AGAIN, as_value, make_all
from dsactl.studies.continual.cost import Operations, count_operations
from dsactl.studies.continual.learner import Settings
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.run import ContinualRun, Outcome, Runner, SetKey
from dsactl.studies.continual.tasks import Task as Stage
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store


@dataclass(frozen=True)
class _Shared:
    """The data that all runs need."""

    tasks: Sequence[Stage]
    settings: Settings
    seed: int
    sets: Mapping[SetKey, SyntheticSet]


def run_all(
    study: PreparedStudy,
    session: Session,
) -> Iterator[tuple[ContinualRun, Outcome | RunError]]:
    """Run all runs.

    Args:
        study: see `PreparedStudy`.
        session: has the store of sets and trained networks. Its meter counts operations.

    Yields:
        Each finished run with its outcome; or with its error if it failed, after which the others continue.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    executor = session.executor.choose(len(study.runs))
    if isinstance(executor, LocalExecutor):
        yield from _run_locally(study, session)
        return
    # Finished runs are looked up without workers.
    runner = Runner(study.tasks, study.settings, session.store, session.device, study.seed)
    known = {run: found for run in study.runs if (found := runner.find(run)) is not None}
    yield from known.items()
    wanted = [run for run in study.runs if run not in known]
    if wanted:
        yield from _run_on_workers(study, wanted, replace(session, executor=executor))


def _run_on_workers(
    study: PreparedStudy,
    wanted: Sequence[ContinualRun],
    session: Session,
) -> Iterator[tuple[ContinualRun, Outcome | RunError]]:
    store, device, executor = session.store, session.device, session.executor
    operations, needed = count_operations(study, str(device)), {(run.memory.method, run.repeat) for run in wanted}
    jobs = {key: job for key, job in study.sets(str(device)).items() if (key[0], key[2]) in needed}
    sets: dict[SetKey, SyntheticSet] = {}
    failed: dict[SetKey, RunError] = {}
    keys = list(jobs)
    for index, made in make_all(
        list(jobs.values()), session.part(0, operations.sets, operations.total, "sets"), wait=True
    ):
        if isinstance(made, RunError):
            failed[keys[index]] = made
        else:
            sets[keys[index]] = from_store(store, made.stored)
    runs = dict[str, ContinualRun]()
    for run in wanted:
        wrong = [failed[key] for key in failed if (key[0], key[2]) == (run.memory.method, run.repeat)]
        if wrong:
            yield run, wrong[0]
        else:
            runs[run.in_words] = run

    learning = operations.total - operations.sets
    own = learning * len(runs) / len(study.runs)
    progress = session.progress.part(operations.total - own, own, operations.total, "runs")
    cpu, folder = torch.device("cpu"), offer(store.home)
    # Runs of different repeats start first: they share no phases for which one would wait for another.
    in_turn = sorted(runs, key=lambda name: _rank(runs[name], runs.values()))
    tasks = [Task(name, _run_on_worker, (runs[name], folder, executor.task_device(device))) for name in in_turn]
    stages = [replace(task, dataset=task.dataset.to(cpu)) for task in study.tasks]
    shared = _Shared(stages, study.settings, study.seed, sets)
    for task, found in executor.run(shared, tasks, progress) if tasks else ():
        if isinstance(found, Failure):
            yield runs[task.name], RunError(f"The run failed: {found.message}.", AGAIN)
        else:
            yield runs[task.name], found


def _rank(run: ContinualRun, runs: Iterable[ContinualRun]) -> int:
    """Return the number of earlier runs with the same repeat."""
    return [each for each in runs if each.repeat == run.repeat].index(run)


def _run_locally(study: PreparedStudy, session: Session) -> Iterator[tuple[ContinualRun, Outcome | RunError]]:
    runner = Runner(study.tasks, study.settings, session.store, session.device, study.seed)
    operations = count_operations(study, str(session.device))
    for index, run in enumerate(study.runs):
        try:
            yield run, runner.run(run, _RunProgress(session.progress, operations, index, run.in_words))
        except RunError as error:
            yield run, error


class _RunProgress(ForwardedProgress):
    """The meter of a run, whose stages have different operations."""

    def __init__(self, whole: Progress, operations: Operations, index: int, label: str) -> None:
        super().__init__(whole)
        self._operations, self._index, self._label = operations, index, label

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        del total, figures
        super().update(self._operations.done(self._index, done), self._operations.total, f"{self._label}: {doing}")


def _run_on_worker(
    shared: _Shared, run: ContinualRun, home: SharedFolder, device: str, progress: Progress
) -> Outcome | RunError:
    """Run a run; return an error as a value, so that other tasks continue."""
    with as_value() as failed, home.use() as place:
        runner = Runner(
            shared.tasks, shared.settings, registry.Store(place), torch.device(device), shared.seed, shared.sets
        )
        return runner.run(run, progress)
    return failed[0]
