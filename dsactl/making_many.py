"""Several sets: one after the other in this process, or each a task of somebody's (`engine.tasks`).

Whoever makes a set works in its run's folder, where that is to be had (`engine.shared_folder`): then the checkpoint
survives him. Elsewhere a task that is tried again begins anew. The process that was started holds the runs meanwhile,
and stores the sets.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import registry
from dsactl import runs
from dsactl.cost import making_operations
from dsactl.data.dataset import Dataset
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Failure, InProcess, Task, Workers
from dsactl.errors import RunError
from dsactl.jobs import Job
from dsactl.methods.work import Made
from dsactl.recipe import Recipe
from dsactl.sitting import Progress

CHECKPOINT_SECONDS = 5.0
"""Between checkpoints of a worker, which are all that is left when it is stopped."""
Report = Callable[[float, str], None]
"""Told how many sets are done, with a fraction, and what is done."""


def make_all(
    jobs: Sequence[Job],
    store: registry.Store,
    workers: Workers | None = None,
    report: Report = lambda done, doing: None,
    *,
    fresh: bool = False,
    wait: bool = False,
) -> Iterator[tuple[int, runs.Outcome | RunError]]:
    """Make sets, or find them made.

    Args:
        jobs: of recipes that differ.
        store: where the sets go.
        workers: who makes them; None for this process.
        report: told of the progress.
        fresh, wait: as of `runs.execute`.

    Yields:
        The place of each job with its set, as that is made; or with the error of a run that failed, after which others
        follow.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    who = (workers or InProcess()).suited(len(jobs))
    if isinstance(who, InProcess):
        for index, job in enumerate(jobs):
            yield index, _here(job, index, store, report, fresh=fresh, wait=wait)
        return
    with contextlib.ExitStack() as held:
        datasets, tasks = dict[str, Dataset](), list[Task[runs.Product | RunError]]()
        places: dict[str, tuple[int, Path, contextlib.ExitStack]] = {}
        for index, job in enumerate(jobs):
            waiting = (lambda: report(0, "waiting for another process")) if wait else None
            own = held.enter_context(contextlib.ExitStack())
            try:
                folder, made = own.enter_context(runs.claim(job, store, fresh=fresh, waiting=waiting))
            except RunError as error:
                yield index, error
                continue
            if made is not None:
                own.close()
                yield index, made
                continue
            key = _key(job.dataset)
            datasets[key] = job.dataset.to(torch.device("cpu"))
            arguments = (key, job.recipe, job.name, offer(folder), who.place(job.device))
            task = Task(f"set {index + 1}", _elsewhere, arguments, making_operations(job.recipe, job.dataset))
            tasks.append(task)
            places[task.name] = index, folder, own
        before = len(jobs) - len(tasks)
        for task, found in who.run(datasets, tasks, lambda done, doing: report(before + done, doing)) if tasks else ():
            index, folder, own = places[task.name]
            if isinstance(found, runs.Product):
                outcome: runs.Outcome | RunError = runs.keep(folder, jobs[index], store, found)
            elif isinstance(found, Failure):
                outcome = RunError(f"{task.name} was given up: {found.message}.", "The same command tries it again.")
            else:
                outcome = found
            own.close()
            yield index, outcome


def _here(
    job: Job, index: int, store: registry.Store, report: Report, *, fresh: bool, wait: bool
) -> runs.Outcome | RunError:
    def tell(progress: Progress) -> None:
        report(index + progress.done / max(progress.total, 1), progress.doing)

    try:
        return runs.execute(job, store, report=tell, fresh=fresh, wait=wait)
    except RunError as error:
        return error


def _elsewhere(
    datasets: Mapping[str, Dataset],
    key: str,
    recipe: Recipe,
    name: registry.SetName,
    folder: SharedFolder,
    device: str,
    report: Callable[[float], None],
) -> runs.Product | RunError:
    """Make the set of a recipe: its images on the CPU, and what went wrong as a value, so that others go on."""
    target = torch.device(device)
    job = Job(datasets[key].to(target), recipe, target, name, {})
    how: dict[str, Any] = {
        "checkpoint_every": CHECKPOINT_SECONDS,
        "report": lambda progress: report(progress.done / max(progress.total, 1)),
    }
    try:
        with folder.use() as place:
            product = runs.carry_out(place, job, **how)
    except RunError as error:
        return error
    made, soft = product.made, product.made.soft_labels_NK
    images, labels = made.images_NCHW.detach().cpu(), made.labels_N.cpu()
    return replace(product, made=Made(images, labels, None if soft is None else soft.detach().cpu(), made.provenance))


def _key(dataset: Dataset) -> str:
    return f"{dataset.train.checksum()} {dataset.mean} {dataset.std}"
