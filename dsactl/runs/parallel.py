"""Several runs: one after the other in this process, or each as a task of an executor (`engine.tasks`).

A worker writes its checkpoint to the run's folder if it can reach it (`engine.shared_folder`); otherwise a retried task
restarts from scratch. Meanwhile the driver holds the locks of the runs, and it stores the sets.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Failure, LocalExecutor, Task
from dsactl.errors import DsactlError, RunError, is_out_of_memory
from dsactl.expert_pools.pool import ExpertPool
from dsactl.expert_pools.settings import needs_experts
from dsactl.methods.work import CondensedSet
from dsactl.recipes.recipe import Recipe
from dsactl.runs.cost import making_operations
from dsactl.runs.experts import Pools, note_pool, pool_of_run
from dsactl.runs.job import Job, run_folder
from dsactl.runs.run import BusyError, Outcome, carry_out, claim, execute, is_made, keep
from dsactl.runs.runner import CHECKPOINT_SECONDS, Product

WORKER_CHECKPOINT_SECONDS = 5.0
"""Between checkpoints of a worker: shorter than usual, since a worker that is killed leaves nothing else."""
LOOK_SECONDS = 1.0
AGAIN = "Run the same again (without `fresh=True`) to retry it."
_CPU = torch.device("cpu")


def make_all(
    jobs: Sequence[Job],
    session: Session,
    *,
    fresh: bool = False,
    wait: bool = False,
    checkpoint_every: float | None = None,
) -> Iterator[tuple[int, Outcome | RunError]]:
    """Make sets; look up those that are in the store.

    Args:
        jobs: with different recipes.
        session: has the store, where the sets go, and the executor.
        fresh: see `execute`.
        checkpoint_every: see `execute`; None for `WORKER_CHECKPOINT_SECONDS` in a worker, and the default of `execute`
            in this process.
        wait: whether workers wait, after all other sets, for those that another process makes; this process refuses
            them.

    Yields:
        The index of each job with its set, as that is made; or with the error of a run that failed, or of the experts
        that it learns from, after which the others continue.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    executor = session.executor.choose(len(jobs))
    if isinstance(executor, LocalExecutor):
        yield from _run_locally(jobs, session, fresh=fresh, checkpoint_every=checkpoint_every)
        return
    every = WORKER_CHECKPOINT_SECONDS if checkpoint_every is None else checkpoint_every
    operations = [max(1.0, making_operations(job.recipe, job.dataset)) for job in jobs]
    total, done, left, pools = sum(operations), 0.0, list(range(len(jobs))), Pools()
    while left:
        # Sets that another process makes are looked for again after all others. Waiting while holding other runs would
        # delay those, and two processes that wait for each other would wait forever.
        busy = list[int]()
        here = replace(session, executor=executor).part(done, total - done, total)
        for index, outcome in _run_unclaimed(jobs, left, operations, here, every, pools, fresh=fresh):
            if wait and isinstance(outcome, BusyError):
                busy.append(index)
            else:
                done += operations[index]
                yield index, outcome
        if len(busy) == len(left):
            waiting = f"waiting for another process that makes {len(busy)} of {len(jobs)} sets"
            session.progress.update(done, total, waiting)
            time.sleep(LOOK_SECONDS)
        left = busy


def _run_unclaimed(
    jobs: Sequence[Job],
    which: Sequence[int],
    operations: Sequence[float],
    session: Session,
    checkpoint_every: float,
    pools: Pools,
    *,
    fresh: bool,
) -> Iterator[tuple[int, Outcome | RunError]]:
    """Make those sets that no other process makes, holding the locks of all their runs."""
    store, executor = session.store, session.executor
    known = 0.0
    obtained = _obtain([jobs[index] for index in which], session, pools, fresh=fresh)
    with contextlib.ExitStack() as held:
        datasets, learnt_from = dict[str, Dataset](), dict[str, ExpertPool]()
        tasks = list[Task[Product | RunError]]()
        places: dict[str, tuple[int, Path, contextlib.ExitStack]] = {}
        for index, experts in zip(which, obtained, strict=True):
            if isinstance(experts, RunError):
                known += operations[index]
                yield index, experts
                continue
            job, own = jobs[index], held.enter_context(contextlib.ExitStack())
            try:
                folder, made = own.enter_context(claim(job, store, fresh=fresh))
            except RunError as error:
                yield index, error
                continue
            if made is not None:
                own.close()
                known += operations[index]
                yield index, made
                continue
            key = f"{job.dataset.train.checksum()} {job.dataset.mean} {job.dataset.std}"
            if key not in datasets:
                datasets[key] = job.dataset.to(_CPU)
            if experts is not None:
                learnt_from[experts.digest] = experts
                note_pool(folder, experts)
            pool = None if experts is None else experts.digest
            device = executor.task_device(job.device)
            arguments = (job.recipe, key, job.name, pool, offer(folder), checkpoint_every, device)
            tasks.append(Task(f"{job.name}, seed {job.recipe.seed}", _run_on_worker, arguments, operations[index]))
            places[job.recipe.digest()] = index, folder, own
        work = sum(task.cost for task in tasks)
        progress = session.progress.part(known, work, sum(operations[index] for index in which))
        for task, found in executor.run((datasets, learnt_from), tasks, progress) if tasks else ():
            recipe, *_ = task.arguments
            index, folder, own = places[recipe.digest()]
            if isinstance(found, Product):
                outcome: Outcome | RunError = keep(folder, jobs[index], session, found)
            elif isinstance(found, Failure):
                outcome = RunError(f"{task.name} failed: {found.message}.", AGAIN)
            else:
                outcome = found
            own.close()
            yield index, outcome


def _obtain(jobs: Sequence[Job], session: Session, pools: Pools, *, fresh: bool) -> list[ExpertPool | RunError | None]:
    """Return the pool of each job, or why it cannot be had; None for a job that needs none, or whose set is made.

    No run may be held meanwhile: the pool may have to be trained, or another process may be training it.
    """
    obtained: list[ExpertPool | RunError | None] = []
    for job in jobs:
        experts = None
        with as_value() as failed:
            if needs_experts(job.recipe) and (fresh or not is_made(session.store, job)):
                begun_with = None if fresh else pool_of_run(run_folder(session.store, job.recipe))
                experts = pools.obtain(job, session, begun_with)
        obtained.append(failed[0] if failed else experts)
    return obtained


def _run_locally(
    jobs: Sequence[Job],
    session: Session,
    *,
    fresh: bool,
    checkpoint_every: float | None,
) -> Iterator[tuple[int, Outcome | RunError]]:
    """Make the sets in this process."""
    every = CHECKPOINT_SECONDS if checkpoint_every is None else checkpoint_every
    pools = Pools()
    for index, job in enumerate(jobs):
        here = session.part(index, 1, len(jobs), f"set {index + 1} of {len(jobs)}" if len(jobs) > 1 else "")
        try:
            outcome: Outcome | RunError = execute(job, here, pools=pools, checkpoint_every=every, fresh=fresh)
        except RunError as error:
            outcome = error
        except (DsactlError, registry.NotFoundError, registry.CorruptError) as error:  # of the pool of experts
            outcome = RunError(error.message, error.hint)
        yield index, outcome


def _run_on_worker(
    shared: tuple[Mapping[str, Dataset], Mapping[str, ExpertPool]],
    recipe: Recipe,
    key: str,
    name: registry.SetName,
    pool: str | None,
    folder: SharedFolder,
    checkpoint_every: float,
    device: str,
    progress: Progress,
) -> Product | RunError:
    """Make the set of a recipe; return it with its images on the CPU, or the error, so that other tasks continue."""
    (datasets, pools), target = shared, torch.device(device)
    experts = None if pool is None else pools[pool]
    with as_value() as failed:
        job = Job(datasets[key].to(target), recipe, target, name, {})
        with folder.use() as place:
            product = carry_out(place, job, progress, experts, checkpoint_every=checkpoint_every)
        made, soft = product.made, product.made.soft_labels_NK
        images, labels = made.images_NCHW.detach().to(_CPU), made.labels_N.to(_CPU)
        soft = None if soft is None else soft.detach().to(_CPU)
        return replace(product, made=CondensedSet(images, labels, soft, made.provenance))
    return failed[0]


@contextlib.contextmanager
def as_value() -> Iterator[list[RunError]]:
    """Catch what ends one task of several, so that the others continue: errors of dsactl, the system, or memory.

    Yields:
        A list to which the error is appended.
    """
    failed = list[RunError]()
    try:
        yield failed
    except RunError as error:
        failed.append(error)
    except registry.Error as error:
        failed.append(RunError(error.message, error.hint))
    except (OSError, RuntimeError, MemoryError) as error:
        if not isinstance(error, OSError) and not is_out_of_memory(error):
            raise
        first, *_ = f"{type(error).__name__}: {error}".splitlines()
        hint = "Use fewer tasks at once, or a smaller network." if is_out_of_memory(error) else AGAIN
        failed.append(RunError(f"A worker failed: {first}", hint))
