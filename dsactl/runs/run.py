"""A run, from a job to a set in the store; interrupted at any moment, it resumes bit-exactly.

A run has a folder in the store's home, keyed by its recipe's digest:

    runs/DIGEST/lock               held by the process that works on it
    runs/DIGEST/recipe.json        the recipe
    runs/DIGEST/source.json        where its dataset was read from on this machine
    runs/DIGEST/run.json           the name of its set
    runs/DIGEST/experts.json       the pool of experts that it learns from, if its method needs one
    runs/DIGEST/checkpoint.safetensors
    runs/DIGEST/events.jsonl       step, all steps, mean distance or loss, and seconds, about once a second
    runs/DIGEST/finished.json      the digest of the set, once it is stored
    runs/DIGEST/.worker            held by the process that computes: the same one, or a worker of it
    runs/DIGEST/.here              the marker by which workers recognise the folder
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout

import registry
from dsactl.data.catalogue import entry_of
from dsactl.data.paths import folder_options
from dsactl.engine.checkpoint import read_checkpoint
from dsactl.engine.device import prepare_device
from dsactl.engine.locks import hold
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.progress import LastProgress, Progress
from dsactl.engine.run_files import CHECKPOINT, EVENTS, FINISHED, RECIPE, RUN, SOURCE, write_json
from dsactl.engine.session import Session
from dsactl.errors import INTERRUPTS, RunError, continue_hint, explain_interrupt
from dsactl.expert_pools.pool import ExpertPool
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe
from dsactl.runs.experts import Pools, note_pool, pool_of_run, share_experts
from dsactl.runs.job import Job, run_folder
from dsactl.runs.made_check import doubt_of_range
from dsactl.runs.runner import CHECKPOINT_SECONDS, Product, Watch, run_method
from dsactl.runs.steps import steps_of
from dsactl.synthetic.storage import store_set
from registry.files import write_atomically
from registry.locks import acquire
from registry.tensors import Array

_WORK, _NOTHING = b"work", b"nothing"  # messages of process 0 to the others


class BusyError(RunError):
    """Another process is making the set."""


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        stored: the set.
        seconds: of work, including those before interruptions.
        repeated: whether it had been made before and was only looked up.
    """

    stored: registry.StoredSet
    seconds: float
    repeated: bool = False


def execute(
    job: Job,
    session: Session,
    *,
    processes: Processes = SINGLE_PROCESS,
    fresh: bool = False,
    wait: bool = False,
    pools: Pools | None = None,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    watch: Watch = lambda done, tensors: None,
) -> Outcome:
    """Make the set, resume an interrupted run, or look up a finished one.

    Args:
        job: see `prepare`.
        session: has the store, where the set goes.
        processes: that share the classes; this function is for process 0, and `follow` for the others.
        fresh: ignore an earlier run of the same recipe.
        wait: wait for another process that makes the set, instead of refusing.
        pools: those of other runs of the same call; None for a run on its own.
        checkpoint_every: smallest number of seconds between checkpoints; one is also written on an interruption.
        watch: called after every step with the tensors that the method keeps.

    Raises:
        RunError: another process makes the set; a checkpoint is damaged or from another device; the images diverged;
            the experts cannot be trained.
        registry.StoreError: the store cannot be written to.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """

    def waiting() -> None:
        session.progress.update(0, 1, "waiting for another process that is making the set")

    progress = LastProgress(session.progress)
    with claim(job, session.store, fresh=fresh, waiting=waiting if wait else None) as (folder, made):
        if made is not None:
            processes.broadcast(_NOTHING)
            return made
        experts = (pools or Pools()).obtain(job, session, pool_of_run(folder), processes)
        note_pool(folder, experts)
        how: dict[str, Any] = {"processes": processes, "checkpoint_every": checkpoint_every, "watch": watch}
        try:
            return keep(folder, job, session, carry_out(folder, job, progress, experts, **how))
        except INTERRUPTS as interrupt:
            _explain(interrupt, folder, progress, fresh=fresh)
            raise


def _explain(interrupt: BaseException, folder: Path, progress: LastProgress, *, fresh: bool) -> None:
    if (folder / FINISHED).exists():
        explain_interrupt(interrupt, "Interrupted; the set is stored.")
    elif not (folder / CHECKPOINT).exists():
        explain_interrupt(interrupt, "Interrupted before the first step; no checkpoint was written.")
    else:
        where = f" at step {progress.done:.0f} of {progress.total:.0f}" if progress.total else ""
        explain_interrupt(interrupt, f"Interrupted{where}; the checkpoint was written.", continue_hint(fresh=fresh))


@contextlib.contextmanager
def claim(
    job: Job, store: registry.Store, *, fresh: bool = False, waiting: Callable[[], None] | None = None
) -> Iterator[tuple[Path, Outcome | None]]:
    """Hold the lock of a run, so that no other process works on it.

    Args:
        job, fresh: see `execute`.
        store: has the run's folder.
        waiting: called before waiting for another process; None to refuse.

    Yields:
        The run's folder, and its set if it is finished.

    Raises:
        BusyError: another process makes the set.
        RunError: an unfinished run in another precision exists.
        registry.StoreError: the store cannot be written to.
        registry.ConflictError: the name is that of a pool of experts.
    """
    store.check_kind_of_name(job.name, registry.SET)
    folder = run_folder(store, job.recipe)
    try:
        lock = hold(folder / "lock", waiting)
    except Timeout:
        raise BusyError(
            f"Another process is making {job.name} with this recipe.", f"Wait for it. The run's folder is {folder}."
        ) from None
    try:
        if fresh:
            for name in (FINISHED, CHECKPOINT, EVENTS):
                (folder / name).unlink(missing_ok=True)
        write_json(folder / RECIPE, job.recipe.to_dict())
        write_json(folder / SOURCE, job.source)
        write_json(folder / RUN, {"name": str(job.name)})
        outcome = _finished(folder, job, store)
        if outcome is not None:
            (folder / CHECKPOINT).unlink(missing_ok=True)  # left by a process that was killed before it removed it
        else:
            (folder / FINISHED).unlink(missing_ok=True)  # its set was removed
            if not fresh:
                _refuse_other_precision(job, store)
        yield folder, outcome
    finally:
        lock.release()


def note_run(job: Job, store: registry.Store) -> None:
    """Write down a run that begins later, so that it is listed while its experts are trained; errors as of `claim`."""
    with claim(job, store):
        pass


def steps_done(store: registry.Store, job: Job) -> float:
    """Return the number of steps in a job's checkpoint; infinity if its set is in the store."""
    folder = run_folder(store, job.recipe)
    if _finished(folder, job, store) is not None:
        return math.inf
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    _, about = read_checkpoint(path.read_bytes(), path, torch.device("cpu"))
    return steps_of(about, job.recipe)


def is_made(store: registry.Store, job: Job) -> bool:
    """Return whether the set of a job is in the store, so that it would only be looked up."""
    return find_made(store, job) is not None


def find_made(store: registry.Store, job: Job) -> registry.StoredSet | None:
    """Return the set of a job under any name; None if it is not in the store."""
    found = recorded_set(run_folder(store, job.recipe) / FINISHED, store)
    return None if found is None else found[0]


def _finished(folder: Path, job: Job, store: registry.Store) -> Outcome | None:
    """Return the set of a finished run under the job's name; None if unfinished, or the set is gone or damaged."""
    found = recorded_set(folder / FINISHED, store)
    if found is None:
        return None
    stored, tensors, seconds = found
    if stored.name != job.name:
        picture = stored.picture.read_bytes() if stored.picture else None
        stored = store.put(job.name, tensors, stored.manifest, picture)
    return Outcome(stored, seconds, repeated=True)


def recorded_set(path: Path, store: registry.Store) -> tuple[registry.StoredSet, dict[str, Array], float] | None:
    """Return the set that a record of a run names, under any name, its tensors, and the run's seconds.

    Args:
        path: of the record, JSON with digest and seconds.
        store: has the set.

    Returns:
        None if there is no record, it is damaged, or the set is gone or damaged.
    """
    try:
        done = json.loads(path.read_text())
        stored = store.find(registry.Reference(None, digest=done["digest"]))
        return stored, store.tensors(stored), float(done["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, registry.NotFoundError, registry.CorruptError):
        return None


def follow(job: Job, processes: Processes) -> None:
    """Compute the distances of this process's classes while process 0 executes the same job.

    Raises:
        ProcessError: another process died, or stopped.
    """
    if processes.broadcast(b"") == _WORK:
        run_method(None, job, Progress(), experts=share_experts(None, processes), processes=processes)


def _refuse_other_precision(job: Job, store: registry.Store) -> None:
    """Refuse to start from scratch if there is an unfinished run in another precision: "auto" depends on the machine.

    Raises:
        RunError: there is one.
    """
    if has_checkpoint(store, job.recipe):
        return
    for precision in ("float32", "bfloat16"):
        if has_checkpoint(store, replace(job.recipe, precision=precision)):
            raise RunError(
                f"An unfinished {precision} run of this recipe exists; this run would use {job.recipe.precision}.",
                f'To continue it, use `precision="{precision}"`; to start over, use `fresh=True`.',
            )


def carry_out(
    folder: Path,
    job: Job,
    progress: Progress,
    experts: ExpertPool | None = None,
    *,
    processes: Processes = SINGLE_PROCESS,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    watch: Watch = lambda done, tensors: None,
) -> Product:
    """Run a job, from its checkpoint if there is one, in a folder that no other process works in.

    Args:
        folder: holds the checkpoint and the events.
        job, processes, checkpoint_every, watch: see `execute`.
        progress: the meter.
        experts: see `Pools.obtain`.

    Raises:
        RunError: see `execute`.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    prepare_device(job.device)
    with acquire(folder / ".worker"):  # a worker may outlive the process that started it for a while
        shared = find(job.recipe.method).shares_classes
        processes.broadcast(_WORK if shared else _NOTHING)
        how: dict[str, Any] = {"experts": experts, "checkpoint_every": checkpoint_every, "watch": watch}
        if shared:
            share_experts(experts, processes)
        return run_method(folder, job, progress, processes=processes if shared else SINGLE_PROCESS, **how)


def keep(folder: Path, job: Job, session: Session, done: Product) -> Outcome:
    """Store the result of a run whose lock is held, and remark on values that no images have.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    stored = store_product(job, session.store, done)
    value = {"digest": stored.digest, "reference": stored.reference, "seconds": done.seconds}
    write_atomically(folder / FINISHED, json.dumps(value).encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if doubt := doubt_of_range(done.made, job):
        session.progress.remark(f"{stored.reference}: {doubt}")
    return Outcome(stored, done.seconds)


def has_checkpoint(store: registry.Store, recipe: Recipe) -> bool:
    """Return whether there is an unfinished run of a recipe."""
    folder = run_folder(store, recipe)
    return (folder / CHECKPOINT).exists() and not (folder / FINISHED).exists()


def store_product(job: Job, store: registry.Store, done: Product) -> registry.StoredSet:
    """Store the result of a run as the next version of the job's name.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    # An image folder's path stays on this machine; how it was read must be known wherever the set is evaluated.
    folder = {} if entry_of(job.recipe.dataset) else folder_options(job.source)
    provenance = {"environment": "; then ".join(done.environments), "seconds": round(done.seconds, 3), **folder}
    return store_set(store, job.name, job.dataset, job.recipe, done.made, {**done.made.provenance, **provenance})
