"""One run, from what a user asks for to a set in the store; interrupted at any moment, it goes on to the same bits.

A run has a folder in the store's home, keyed by its recipe's digest:

    runs/DIGEST/lock               held by the process that works on it
    runs/DIGEST/recipe.json        what is being made
    runs/DIGEST/source.json        where its data set was read from on this machine
    runs/DIGEST/checkpoint.safetensors
    runs/DIGEST/events.jsonl       step, mean distance or loss, and seconds, about once a second
    runs/DIGEST/finished.json      the digest of the set, once it is stored
    runs/DIGEST/.worker            held by the process that computes, be it the same, or a worker of it
    runs/DIGEST/.here              what workers know the folder by
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import registry
from dsactl.data.catalogue import entry_of
from dsactl.engine.checkpoint import read_checkpoint
from dsactl.engine.device import prepare_device
from dsactl.engine.locks import hold
from dsactl.engine.processes import ALONE, Processes
from dsactl.errors import RunError
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Recipe
from dsactl.runs.job import Job, run_folder
from dsactl.runs.progress import Progress
from dsactl.runs.runner import CHECKPOINT, CHECKPOINT_SECONDS, EVENTS, Product, Watch, run_method
from dsactl.synthetic.storage import folder_options, store_set
from registry.files import write_atomically
from registry.tensors import Array

FINISHED = "finished.json"
_WORK, _NOTHING = b"work", b"nothing"  # what process 0 tells the others


class BusyError(RunError):
    """Another process makes the set."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        stored: the set.
        seconds: of work, earlier sittings included.
        repeated: it had been made before and was only looked up.
    """

    stored: registry.StoredSet
    seconds: float
    repeated: bool = False


def execute(
    job: Job,
    store: registry.Store,
    *,
    processes: Processes = ALONE,
    fresh: bool = False,
    wait: bool = False,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    report: Callable[[Progress], None] = lambda progress: None,
    watch: Watch = lambda done, tensors: None,
) -> Outcome:
    """Make the set, or go on making it, or find it made.

    Args:
        job: see `prepare`.
        store: where it goes.
        processes: that share the classes; this function is for process 0, and `follow` for the others.
        fresh: forget an earlier run of the same recipe.
        wait: for another process that is at it, instead of refusing.
        checkpoint_every: seconds between checkpoints, at least; one is also written when the run is interrupted.
        report: called after every inner step, and when the work changes.
        watch: called after every step with what the method keeps.

    Raises:
        RunError: another process is at it; a checkpoint is damaged or of another device; the images diverged.
        registry.StoreError: the store cannot be written to.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """

    def waiting() -> None:
        report(Progress(0, 1, doing="waiting for another process that makes it"))

    with claim(job, store, fresh=fresh, waiting=waiting if wait else None) as (folder, made):
        if made is not None:
            processes.broadcast(_NOTHING)
            return made
        how: dict[str, Any] = {"checkpoint_every": checkpoint_every, "report": report, "watch": watch}
        return keep(folder, job, store, carry_out(folder, job, processes=processes, **how))


@contextlib.contextmanager
def claim(
    job: Job, store: registry.Store, *, fresh: bool = False, waiting: Callable[[], None] | None = None
) -> Iterator[tuple[Path, Outcome | None]]:
    """Hold a run, so that no other process works on it.

    Args:
        job, store, fresh: as of `execute`.
        waiting: called before another process is waited for; None to refuse.

    Yields:
        The run's folder, and its set, if that is made.

    Raises:
        BusyError: another process is at it.
        RunError: it stands half done in another precision.
        registry.StoreError: the store cannot be written to.
    """
    folder = run_folder(store, job.recipe)
    try:
        lock = hold(folder / "lock", waiting)
    except Timeout:
        raise BusyError(
            f"Another process is making {job.name} with this recipe.", f"Wait for it, or look at {folder}."
        ) from None
    try:
        if fresh:
            for name in (FINISHED, CHECKPOINT, EVENTS):
                (folder / name).unlink(missing_ok=True)
        write_atomically(folder / "recipe.json", json.dumps(job.recipe.to_dict(), indent=1).encode())
        write_atomically(folder / "source.json", json.dumps(job.source, indent=1).encode())
        outcome = _finished(folder, job, store)
        if outcome is not None:
            (folder / CHECKPOINT).unlink(missing_ok=True)  # of a process that was killed before it could
        else:
            (folder / FINISHED).unlink(missing_ok=True)  # of a set that is gone
            if not fresh:
                _refuse_other_precision(job, store)
        yield folder, outcome
    finally:
        lock.release()


def steps_done(store: registry.Store, job: Job) -> float:
    """Return how many steps of a job its checkpoint has; infinity if its set is there."""
    folder = run_folder(store, job.recipe)
    if _finished(folder, job, store) is not None:
        return math.inf
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    _, about = read_checkpoint(path.read_bytes(), path, torch.device("cpu"))
    return int(about.get("done", 0))


def is_made(store: registry.Store, job: Job) -> bool:
    """Whether the set of a job is there, so that it would only be looked up."""
    return find_made(store, job) is not None


def find_made(store: registry.Store, job: Job) -> registry.StoredSet | None:
    """The set of a job, whatever it is called; None if it is not there."""
    found = _find(run_folder(store, job.recipe), store)
    return None if found is None else found[0]


def _finished(folder: Path, job: Job, store: registry.Store) -> Outcome | None:
    """The set of a run that is done, under the job's name; None if it is not done or the set is gone or damaged."""
    found = _find(folder, store)
    if found is None:
        return None
    stored, tensors, seconds = found
    if stored.name != job.name:
        picture = stored.picture.read_bytes() if stored.picture else None
        stored = store.put(job.name, tensors, stored.manifest, picture)
    return Outcome(stored, seconds, repeated=True)


def _find(folder: Path, store: registry.Store) -> tuple[registry.StoredSet, dict[str, Array], float] | None:
    """The set of a run, its tensors and the seconds it took, whatever it is called."""
    try:
        done = json.loads((folder / FINISHED).read_text())
        stored = store.find(registry.Reference(None, digest=done["digest"]))
        return stored, store.tensors(stored), float(done["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, registry.NotFoundError, registry.CorruptError):
        return None


def follow(job: Job, processes: Processes) -> None:
    """What processes other than the first do while it executes the same job: compute the distances of their classes.

    Raises:
        ProcessError: another process died, or stopped.
    """
    if processes.broadcast(b"") == _WORK:
        run_method(None, job, processes=processes)


def _refuse_other_precision(job: Job, store: registry.Store) -> None:
    """Refuse to begin anew in another precision what is unfinished in one: "auto" depends on the machine.

    Raises:
        RunError: says how to go on.
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
    *,
    processes: Processes = ALONE,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    report: Callable[[Progress], None] = lambda progress: None,
    watch: Watch = lambda done, tensors: None,
) -> Product:
    """Make the set of a job from its checkpoint, or the beginning, in a folder that nobody else works in.

    Args:
        folder: has the checkpoint and the events.
        job, processes, checkpoint_every, report, watch: as of `execute`.

    Raises:
        RunError: as of `execute`.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    prepare_device(job.device)
    with FileLock(folder / ".worker"):  # a worker may outlive for a while who began it
        shared = find(job.recipe.method).shares_classes
        processes.broadcast(_WORK if shared else _NOTHING)
        how: dict[str, Any] = {"checkpoint_every": checkpoint_every, "report": report, "watch": watch}
        return run_method(folder, job, processes=processes if shared else ALONE, **how)


def keep(folder: Path, job: Job, store: registry.Store, done: Product) -> Outcome:
    """Store what came of a run that is held.

    Raises:
        registry.StoreError: the store cannot be written to.
    """
    stored = _store(job, store, done)
    value = {"digest": stored.digest, "reference": stored.reference, "seconds": done.seconds}
    write_atomically(folder / FINISHED, json.dumps(value).encode())
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return Outcome(stored, done.seconds)


def has_checkpoint(store: registry.Store, recipe: Recipe) -> bool:
    """Whether a recipe's run stands half done."""
    folder = run_folder(store, recipe)
    return (folder / CHECKPOINT).exists() and not (folder / FINISHED).exists()


def _store(job: Job, store: registry.Store, done: Product) -> registry.StoredSet:
    # Where the folder lies stays on this machine; how it was read must be known wherever the set is evaluated.
    folder = {} if entry_of(job.recipe.dataset) else folder_options(job.source)
    provenance = {"environment": "; then ".join(done.environments), "seconds": round(done.seconds, 3), **folder}
    return store_set(store, job.name, job.dataset, job.recipe, done.made, {**done.made.provenance, **provenance})
