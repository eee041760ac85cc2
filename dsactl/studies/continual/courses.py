"""The courses of a study: one after the other in this process, or each as a task of an executor (`engine.tasks`).

With workers, all sets are made first. A worker writes the trained networks to the store's home if it can reach it
(`engine.shared_folder`), so that courses share their common phases; otherwise each course trains all of them itself.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

import registry
from dsactl.studies.continual.learner import Settings
from dsactl.studies.continual.run import Course, Outcome, Runner, SetKey
from dsactl.studies.continual.study import Study
from dsactl.studies.continual.tasks import Task as Stage
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Executor, Failure, LocalExecutor, Report, Task
from dsactl.errors import RunError
from dsactl.runs.parallel import AGAIN, as_value, make_all
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store


@dataclass(frozen=True)
class _Shared:
    """The data that all courses need."""

    tasks: Sequence[Stage]
    settings: Settings
    seed: int
    sets: Mapping[SetKey, SyntheticSet]


def go_through(
    study: Study,
    store: registry.Store,
    device: torch.device,
    workers: Executor | None = None,
    report: Report = lambda share, doing: None,
) -> Iterator[tuple[Course, Outcome | RunError]]:
    """Run all courses.

    Args:
        study: see `Study`.
        store: holds sets and trained networks.
        device: where to compute.
        workers: the executor; None for this process.
        report: called with the progress.

    Yields:
        Each finished course with its outcome; or with its error if it failed, after which the others continue.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    executor = (workers or LocalExecutor()).choose(len(study.courses))
    if isinstance(executor, LocalExecutor):
        yield from _run_locally(study, store, device, report)
        return
    # Finished courses are looked up without workers.
    runner = Runner(study.tasks, study.settings, store, device, study.seed)
    known = {course: found for course in study.courses if (found := runner.find(course)) is not None}
    yield from known.items()
    wanted = [course for course in study.courses if course not in known]
    if wanted:
        yield from _run_on_workers(study, wanted, store, device, executor, report)


def _run_on_workers(
    study: Study,
    wanted: Sequence[Course],
    store: registry.Store,
    device: torch.device,
    executor: Executor,
    report: Report,
) -> Iterator[tuple[Course, Outcome | RunError]]:
    meter, needed = study.meter(str(device)), {(course.memory.method, course.repeat) for course in wanted}
    jobs = {key: job for key, job in study.sets(str(device)).items() if (key[0], key[2]) in needed}

    def making(share: float, doing: str) -> None:
        report(meter.share_apart(share, 0), f"sets, {doing}")

    sets: dict[SetKey, SyntheticSet] = {}
    failed: dict[SetKey, RunError] = {}
    keys = list(jobs)
    for index, made in make_all(list(jobs.values()), store, executor, making, wait=True):
        if isinstance(made, RunError):
            failed[keys[index]] = made
        else:
            sets[keys[index]] = from_store(store, made.stored)
    courses = dict[str, Course]()
    for course in wanted:
        wrong = [failed[key] for key in failed if (key[0], key[2]) == (course.memory.method, course.repeat)]
        if wrong:
            yield course, wrong[0]
        else:
            courses[course.in_words] = course

    before = 1 - len(courses) / len(study.courses)

    def learning(share: float, doing: str) -> None:
        report(meter.share_apart(1, before + (1 - before) * share), f"courses, {doing}")

    cpu, folder = torch.device("cpu"), offer(store.home)
    # Courses of different repeats start first: they share no phases for which one would wait for another.
    in_turn = sorted(courses, key=lambda name: _rank(courses[name], courses.values()))
    tasks = [Task(name, _run_on_worker, (courses[name], folder, executor.task_device(device))) for name in in_turn]
    stages = [replace(task, dataset=task.dataset.to(cpu)) for task in study.tasks]
    shared = _Shared(stages, study.settings, study.seed, sets)
    for task, found in executor.run(shared, tasks, learning) if tasks else ():
        if isinstance(found, Failure):
            yield courses[task.name], RunError(f"The course failed: {found.message}.", AGAIN)
        else:
            yield courses[task.name], found


def _rank(course: Course, courses: Iterable[Course]) -> int:
    """Return the number of earlier courses with the same repeat."""
    return [each for each in courses if each.repeat == course.repeat].index(course)


def _run_locally(
    study: Study, store: registry.Store, device: torch.device, report: Report
) -> Iterator[tuple[Course, Outcome | RunError]]:
    runner, meter = Runner(study.tasks, study.settings, store, device, study.seed), study.meter(str(device))
    for index, course in enumerate(study.courses):

        def tell(done: float, _total: int, doing: str, index: int = index, course: Course = course) -> None:
            report(meter.share(index, done), f"{course.in_words}: {doing}")

        try:
            yield course, runner.run(course, tell)
        except RunError as error:
            yield course, error


def _run_on_worker(
    shared: _Shared, course: Course, home: SharedFolder, device: str, report: Callable[[float], None]
) -> Outcome | RunError:
    """Run a course; return an error as a value, so that other tasks continue."""

    def tell(done: float, total: int, _doing: str) -> None:
        report(done / total)

    with as_value() as failed, home.use() as place:
        runner = Runner(
            shared.tasks, shared.settings, registry.Store(place), torch.device(device), shared.seed, shared.sets
        )
        return runner.run(course, tell)
    return failed[0]
