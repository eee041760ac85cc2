"""Several sets: one after the other in this process, or each a task of somebody's (`engine.tasks`).

Whoever makes a set works in its run's folder, where that is to be had (`engine.shared_folder`): then the checkpoint
survives him. Elsewhere a task that is tried again begins anew. The process that was started holds the runs meanwhile,
and stores the sets.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock

import registry
from dsactl import runs
from dsactl.cost import making_operations
from dsactl.data.dataset import Dataset
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Failure, InProcess, Report, Task, Workers
from dsactl.errors import RunError
from dsactl.jobs import Job
from dsactl.methods.work import Made
from dsactl.recipe import Recipe
from dsactl.sitting import CHECKPOINT_SECONDS, Progress

WORKER_CHECKPOINT_SECONDS = 5.0
"""Between checkpoints of a worker, which are all that is left when it is killed."""
AGAIN = "The same command tries it again."
_CPU = torch.device("cpu")


def make_all(
    jobs: Sequence[Job],
    store: registry.Store,
    workers: Workers | None = None,
    report: Report = lambda share, doing: None,
    *,
    fresh: bool = False,
    wait: bool = False,
    checkpoint_every: float | None = None,
) -> Iterator[tuple[int, runs.Outcome | RunError]]:
    """Make sets, or find them made.

    Args:
        jobs: of recipes that differ.
        store: where the sets go.
        workers: who makes them; None for this process.
        report: told of the progress.
        fresh: as of `runs.execute`.
        checkpoint_every: the same; None for five seconds of a worker's, and the usual of this process.
        wait: for sets that another process makes, when all others are made.

    Yields:
        The place of each job with its set, as that is made; or with the error of a run that failed, after which others
        follow.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    left = sum(fresh or not runs.is_made(store, job) for job in jobs)
    who = (workers or InProcess()).suited(left)
    if isinstance(who, InProcess):
        everything = range(len(jobs))
        yield from _here(jobs, everything, store, report, fresh=fresh, wait=wait, checkpoint_every=checkpoint_every)
        return
    busy = list[int]()
    with contextlib.ExitStack() as held:
        datasets, tasks = dict[str, Dataset](), list[Task[runs.Product | RunError]]()
        places: dict[str, tuple[int, Path, contextlib.ExitStack]] = {}
        for index, job in enumerate(jobs):
            own = held.enter_context(contextlib.ExitStack())
            try:
                folder, made = own.enter_context(runs.claim(job, store, fresh=fresh))
            except runs.BusyError as error:
                # To wait now would hold up all others, and for ever two processes that wait for each other.
                if wait:
                    busy.append(index)
                else:
                    yield index, error
                continue
            except RunError as error:
                yield index, error
                continue
            if made is not None:
                own.close()
                yield index, made
                continue
            key = f"{job.dataset.train.checksum()} {job.dataset.mean} {job.dataset.std}"
            if key not in datasets:
                datasets[key] = job.dataset.to(_CPU)
            every = WORKER_CHECKPOINT_SECONDS if checkpoint_every is None else checkpoint_every
            arguments = (job.recipe, key, job.name, offer(folder), every, who.place(job.device))
            name, operations = f"{job.name}, seed {job.recipe.seed}", making_operations(job.recipe, job.dataset)
            tasks.append(Task(name, _elsewhere, arguments, max(1.0, operations)))
            places[job.recipe.digest()] = index, folder, own
        for task, found in who.run(datasets, tasks, report) if tasks else ():
            recipe, *_ = task.arguments
            index, folder, own = places[recipe.digest()]
            if isinstance(found, runs.Product):
                outcome: runs.Outcome | RunError = runs.keep(folder, jobs[index], store, found)
            elif isinstance(found, Failure):
                outcome = RunError(f"{task.name} was given up: {found.message}.", AGAIN)
            else:
                outcome = found
            own.close()
            yield index, outcome
    yield from _here(jobs, busy, store, report, fresh=False, wait=True, checkpoint_every=checkpoint_every)


def _here(
    jobs: Sequence[Job],
    which: Sequence[int],
    store: registry.Store,
    report: Report,
    *,
    fresh: bool,
    wait: bool,
    checkpoint_every: float | None,
) -> Iterator[tuple[int, runs.Outcome | RunError]]:
    """Make some of the sets in this process."""
    for place, index in enumerate(which):

        def tell(progress: Progress, place: int = place) -> None:
            doing = f"set {place + 1} of {len(which)}, {progress.doing}" if len(which) > 1 else progress.doing
            report((place + progress.done / max(progress.total, 1)) / len(which), doing)

        every = CHECKPOINT_SECONDS if checkpoint_every is None else checkpoint_every
        try:
            yield (
                index,
                runs.execute(jobs[index], store, checkpoint_every=every, report=tell, fresh=fresh, wait=wait),
            )
        except RunError as error:
            yield index, error


def _elsewhere(
    datasets: Mapping[str, Dataset],
    recipe: Recipe,
    key: str,
    name: registry.SetName,
    folder: SharedFolder,
    checkpoint_every: float,
    device: str,
    report: Callable[[float], None],
) -> runs.Product | RunError:
    """Make the set of a recipe: its images on the CPU, or what went wrong as a value, so that others go on."""
    target = torch.device(device)

    def tell(progress: Progress) -> None:
        report(progress.done / max(progress.total, 1))

    try:
        job = Job(datasets[key].to(target), recipe, target, name, {})
        with folder.use() as place, FileLock(place / ".worker"):  # one that Ray takes for dead may go on for a while
            product = runs.carry_out(place, job, checkpoint_every=checkpoint_every, report=tell)
        made, soft = product.made, product.made.soft_labels_NK
        images, labels = made.images_NCHW.detach().to(_CPU), made.labels_N.to(_CPU)
        soft = None if soft is None else soft.detach().to(_CPU)
        return replace(product, made=Made(images, labels, soft, made.provenance))
    except (registry.Error, OSError, torch.OutOfMemoryError) as error:
        return as_run_error(error)


def as_run_error(error: Exception) -> RunError:
    """What went wrong on a worker, as an error of one run: those of others go on."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, registry.Error):
        return RunError(error.message, error.hint)
    first, *_ = f"{type(error).__name__}: {error}".splitlines()
    return RunError(f"A worker failed: {first}", AGAIN)
