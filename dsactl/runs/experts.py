"""The pool of experts that a run learns from: named by its settings, or described by them and made if missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load, save

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.run_files import CHECKPOINT
from dsactl.engine.session import Session
from dsactl.errors import RunError
from dsactl.expert_pools.make import PoolJob, find_or_make, find_pool
from dsactl.expert_pools.make import prepare as prepare_pool
from dsactl.expert_pools.named import check_pool
from dsactl.expert_pools.pool import ExpertPool, load_experts, pool_from_store, untrained_pool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.settings import ExpertSettings, needs_experts
from dsactl.recipes.recipe import Recipe
from dsactl.runs.job import Job
from registry.files import write_atomically

POOL = "experts.json"


def pool_job(job: Job) -> PoolJob:
    """Return the job of the pool that a run's settings describe.

    Args:
        job: of a recipe that needs experts.
    """
    request = job.recipe.settings_as(ExpertSettings).pool_request(job.recipe)
    folder = {name: value for name, value in job.source.items() if name != "name"}
    return prepare_pool(request, job.dataset, job.device, folder=folder)


def missing_pool(job: Job, store: registry.Store) -> PoolJob | None:
    """Return the job of the pool that a run would have to make first; None if it needs none, or it is in the store."""
    if not needs_experts(job.recipe) or job.recipe.settings_as(ExpertSettings).experts:
        return None
    wanted = pool_job(job)
    return wanted if find_pool(store, wanted) is None else None


class Pools:
    """The pools that the runs of one call learn from: runs with the same settings of experts share a pool."""

    def __init__(self) -> None:
        self._found: dict[str, ExpertPool | registry.Error] = {}

    def obtain(
        self, job: Job, session: Session, begun_with: str | None = None, processes: Processes = SINGLE_PROCESS
    ) -> ExpertPool | None:
        """Return the pool of a run: from the store, or made now; None if the run needs none.

        Args:
            job: of any method.
            session: see `find_or_make`; its meter says what is done, without counting it.
            begun_with: digest of the pool that the run was begun with (`pool_of_run`), which is taken before others if
                the store still has it; None for a new run.
            processes: that share the classes of the run; they do not share the training of experts.

        Raises:
            RunError: there are several processes and the pool is missing; or see `find_or_make`.
            registry.RegistryError: the pool that the settings name does not exist, or is damaged.
            DsactlError: it does not fit the recipe.
        """
        if not needs_experts(job.recipe):
            return None
        named = job.recipe.settings_as(ExpertSettings).experts
        wanted = None if named else pool_job(job)
        key = named if wanted is None else _key(wanted)
        pool = None if named or begun_with is None else _by_digest(begun_with, session.store)
        if pool is not None:
            self._found.setdefault(key, pool)
        else:
            if key not in self._found:
                try:
                    self._found[key] = _find(job, wanted, session, processes)
                except registry.Error as error:
                    self._found[key] = error
            found = self._found[key]
            if isinstance(found, registry.Error):
                raise found
            pool = found
        check_pool(pool, job.recipe, job.dataset)
        return pool


def _key(wanted: PoolJob) -> str:
    return f"{wanted.recipe.digest()} {wanted.dataset.class_names} {wanted.dataset.mean} {wanted.dataset.std}"


def _find(job: Job, wanted: PoolJob | None, session: Session, processes: Processes) -> ExpertPool:
    """Return the pool that a run names, or describes (`wanted`); see `Pools.obtain`."""
    if wanted is None:
        return load_experts(job.recipe.settings_as(ExpertSettings).experts, session.store)
    if processes.count > 1 and find_pool(session.store, wanted) is None:
        refuse_to_share(job, wanted.recipe.epochs)
    made = find_or_make(wanted, session.part(0, 0, 1, "experts"), wait=True)
    return pool_from_store(session.store, made.stored)


def refuse_to_share(job: Job, epochs: int) -> NoReturn:
    """Refuse to train the missing experts of a run in several processes.

    Args:
        job: of the run.
        epochs: of the experts.

    Raises:
        RunError: always.
    """
    raise RunError(
        f"The experts for {job.name} are not in the store, and several processes cannot share their training.",
        f"Make the pool first, in one process: `experts({job.dataset.name!r}, epochs={epochs})` with the same "
        "settings.",
    )


def _by_digest(digest: str, store: registry.Store) -> ExpertPool | None:
    """Return an undamaged pool of the store; None if it has none of that digest."""
    try:
        return pool_from_store(store, store.find(registry.Reference(None, digest=digest)))
    except (registry.NotFoundError, registry.CorruptError):
        return None


def note_pool(folder: Path, experts: ExpertPool | None) -> None:
    """Write into a run's folder which pool the run learns from; one that has a checkpoint has begun with its own.

    Raises:
        registry.StoreError: the folder cannot be written to.
    """
    if experts is not None and not (folder / CHECKPOINT).exists():
        value = {"reference": experts.reference, "digest": experts.digest}
        write_atomically(folder / POOL, json.dumps(value).encode())


def pool_of_run(folder: Path) -> str | None:
    """Return the digest of the pool that an unfinished run was begun with; None if it has no checkpoint, or no pool."""
    if not (folder / CHECKPOINT).exists():
        return None
    try:
        return str(json.loads((folder / POOL).read_text())["digest"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def untrained_experts(recipe: Recipe, dataset: Dataset) -> ExpertPool | None:
    """Return a pool of untrained networks to try a step of a run with; None if the run needs no pool."""
    if not needs_experts(recipe):
        return None
    shape = (dataset.channels, *dataset.size)
    request = replace(recipe.settings_as(ExpertSettings).pool_request(recipe), networks=1, keep=None)
    return untrained_pool(request.resolve(dataset.name, recipe.checksum, shape, recipe.precision), dataset)


def share_experts(experts: ExpertPool | None, processes: Processes) -> ExpertPool | None:
    """Return process 0's pool in every process; the others' arguments are ignored.

    Raises:
        ProcessError: another process died.
    """
    if processes.count == 1:
        return experts
    data = b""
    if experts is not None:
        about: dict[str, Any] = {
            "reference": experts.reference,
            "digest": experts.digest,
            "recipe": experts.recipe.to_dict(),
            "class_names": experts.class_names,
            "mean": experts.mean,
            "std": experts.std,
        }
        head = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        data = save({**experts.tensors, _ABOUT: head})
    data = processes.broadcast(data)
    if not data:
        return None
    tensors = load(data)
    about = json.loads(bytes(tensors.pop(_ABOUT).tolist()))
    return ExpertPool(
        about["reference"],
        about["digest"],
        PoolRecipe.from_dict(about["recipe"]),
        tuple(about["class_names"]),
        tuple(about["mean"]),
        tuple(about["std"]),
        tensors,
    )


_ABOUT = "about"
