"""The sets of the study: those of one run after some numbers of steps, and those that are made at once.

A run has a folder in the store's home, apart from those of `condense`, since it stops at each of its sets:

    runs/clock/KEY/lock                     held by the process that works on it; KEY is the digest of recipe and device
    runs/clock/KEY/step.json                seconds of a step, measured before the first set
    runs/clock/KEY/checkpoint.safetensors   as that of any run
    runs/clock/KEY/after-N.json             digest of the stored set after N steps, and the run's seconds so far
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

import registry
from dsactl.engine.checkpoint import read_checkpoint
from dsactl.engine.device import describe
from dsactl.engine.locks import hold
from dsactl.engine.processes import SINGLE_PROCESS
from dsactl.engine.run_files import CHECKPOINT
from dsactl.engine.session import Session
from dsactl.expert_pools.pool import ExpertPool
from dsactl.expert_pools.teacher import Teacher
from dsactl.methods.work import CondensedSet
from dsactl.runs.experts import Pools, note_pool, pool_of_run
from dsactl.runs.job import STUDIES, Job
from dsactl.runs.made_check import checked
from dsactl.runs.run import BusyError, carry_out, execute, recorded_set, store_product
from dsactl.runs.runner import Product
from dsactl.runs.trial import Trial, measure
from dsactl.studies.clock.curves import Curve, steps_at
from dsactl.synthetic.relabelling import ENDING, relabel
from registry.files import write_atomically

_TIMED, _HOPELESS = 10.0, 3600.0
"""Seconds that the timing of steps may take, and of a step from which on one is enough."""


@dataclass(frozen=True)
class Prepared:
    """A curve with the jobs of its sets.

    Attributes:
        curve: the curve.
        job: of its first set; for soft labels, of the images.
        teacher: a job whose method uses the curve's pool of experts; None without experts.
    """

    curve: Curve
    job: Job
    teacher: Job | None = None


@dataclass(frozen=True)
class Made:
    """A set, and the time that making it took.

    Attributes:
        stored: the set.
        elapsed: seconds of work, however busy the machine was; the experts' are apart.
        seconds: of a run's steps at the speed that was measured before the first of them; `elapsed` without steps.
        pool: of the experts; None without any.
        steps: of the run; 0 for a set that is made at once.
    """

    stored: registry.StoredSet
    elapsed: float
    seconds: float
    pool: registry.StoredSet | None = None
    steps: int = 0


class _PauseError(BaseException):
    """A run has made as many steps as it should for now. No method takes it for a fault of its own."""


def run_until(job: Job, number: int, minutes: int, session: Session) -> Made | None:
    """Run until a time, by the number of steps that fit in it, and store the set.

    Args:
        job: of a method of `curves.RUNNING`, with all steps.
        number: of the set, which decides its seed.
        minutes: one of `curves.times`.
        session: has the store, and the meter.

    Returns:
        The set; None if the run has no other set than at the time before.

    Raises:
        BusyError: another process works on the run.
        RunError: see `dsactl.runs.run.execute`.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    each = seconds_per_step(job, session)
    steps = steps_at(minutes, each, job.recipe.steps)
    if not steps:
        return None
    job = job.with_seed(number)
    folder = run_folder(session.store, job)
    experts = Pools().obtain(job, session, pool_of_run(folder))
    pool = None if experts is None else _stored_pool(experts, session)
    with _held(folder, job):
        note_pool(folder, experts)
        record = folder / f"after-{steps}.json"
        known = _recorded(record, session.store)
        if known is None:
            product = _product(folder, job, steps, session, experts)
            stored = store_product(job.with_steps(steps).within(STUDIES), session.store, product)
            known = stored, product.seconds
            _write(record, stored, product.seconds)
    return Made(*known, steps * each, pool, steps)


def make_at_once(job: Job, number: int, session: Session) -> Made:
    """Make a set of a method without steps; errors as of `execute`."""
    outcome = execute(job.with_seed(number).within(STUDIES), session)
    return Made(outcome.stored, outcome.seconds, outcome.seconds)


def make_soft(job: Job, teacher: Job, number: int, session: Session) -> Made:
    """Make a set, and give it soft labels from an expert.

    Args:
        job: of the images.
        teacher: a job whose method uses the pool of experts.
        number, session: see `run_until`.

    Raises:
        RunError: see `execute`, and `relabel`.
    """
    images = make_at_once(job, number, session)
    experts = Pools().obtain(teacher, session)
    assert experts is not None
    pool, own = _stored_pool(experts, session), images.stored.name
    record = run_folder(session.store, job.with_seed(number)) / f"soft-{pool.digest[:32]}.json"
    known = _recorded(record, session.store)
    if known is None:
        before = time.monotonic()
        name = registry.SetName(own.namespace, f"{own.name}{ENDING}")
        stored = relabel(session.store, images.stored, pool, Teacher(), session, name).stored
        known = stored, images.seconds + time.monotonic() - before
        _write(record, *known)
    return Made(*known, known[1], pool)


def run_folder(store: registry.Store, job: Job) -> Path:
    """Return the folder of a job's run on its device."""
    key = json.dumps([job.recipe.digest(), describe(job.device)]).encode()
    return store.home / "runs" / "clock" / hashlib.sha256(key).hexdigest()[:32]


def seconds_per_step(job: Job, session: Session) -> float:
    """Return the seconds of a step of a run, as an earlier call has measured them, or measured now.

    Args:
        job: see `run_until`; of the first set, whose measurement counts for all.
        session: see `run_until`.
    """
    path = run_folder(session.store, job) / "step.json"
    known = known_seconds(session.store, job)
    if known is None:
        how = {"allowed": _TIMED, "plenty": 0.0, "hopeless": _HOPELESS}
        trial = Trial(job, session.progress.part(0, 0, 1, "timing steps"), SINGLE_PROCESS, **how, compiled=True)
        measure(trial, job)
        known = trial.seconds
        write_atomically(path, json.dumps({"seconds": known}).encode())
    return known


def known_seconds(store: registry.Store, job: Job) -> float | None:
    """Return the seconds of a step that were measured; None if none were."""
    try:
        seconds = float(json.loads((run_folder(store, job) / "step.json").read_bytes())["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return seconds if seconds > 0 else None


def seconds_done(store: registry.Store, job: Job) -> float:
    """Return the seconds of work that a run's checkpoint has; 0 without one."""
    path = run_folder(store, job) / CHECKPOINT
    return float(_read(path)[1]["seconds"]) if path.exists() else 0.0


@contextlib.contextmanager
def _held(folder: Path, job: Job) -> Iterator[None]:
    """Hold the lock of a run in a block."""
    try:
        lock = hold(folder / "lock")
    except Timeout:
        raise BusyError(
            f"Another process is making {job.name} for this study.", f"Wait for it. The run's folder is {folder}."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _product(folder: Path, job: Job, steps: int, session: Session, experts: ExpertPool | None) -> Product:
    """Return the set of a run after some steps; the run continues from its checkpoint, or restarts if that is later."""
    reports = steps * int(job.recipe.settings.values().get("inner_steps", 1))
    path = folder / CHECKPOINT
    done = _read(path)[1]["done"] if path.exists() else 0
    if done > reports:
        path.unlink()
        done = 0

    def pause(now: int, _tensors: Mapping[str, Tensor]) -> None:
        if now == reports:
            raise _PauseError

    if done < reports:
        with contextlib.suppress(_PauseError):
            carry_out(folder, job, session.progress.part(0, job.recipe.steps, steps), experts, watch=pause)
    tensors, about = _read(path)
    made = CondensedSet(
        tensors["images"].flatten(0, 1),
        job.dataset.labels(job.recipe.ipc).cpu(),
        provenance={} if experts is None else {"experts": experts.exact_reference},
    )
    return Product(checked(made, job), float(about["seconds"]), list(about["environments"]))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return read_checkpoint(path.read_bytes(), path, torch.device("cpu"))


def _stored_pool(experts: ExpertPool, session: Session) -> registry.StoredSet:
    return session.store.find(registry.Reference(None, digest=experts.digest))


def _recorded(path: Path, store: registry.Store) -> tuple[registry.StoredSet, float] | None:
    """Return the set and the seconds of a record; None without one that can be read."""
    with contextlib.suppress(OSError):
        found = recorded_set(path, store)
        return None if found is None else (found[0], found[2])
    return None


def _write(path: Path, stored: registry.StoredSet, seconds: float) -> None:
    write_atomically(path, json.dumps({"digest": stored.digest, "seconds": seconds}).encode())
