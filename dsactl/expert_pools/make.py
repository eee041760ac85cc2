"""Making a pool of experts, or finding it by its recipe; interrupted at any moment, it is continued bit-exactly.

A pool that is being made has a folder in the store's home, keyed by its recipe's digest:

    runs/experts/DIGEST/lock                    held by the process that makes the pool
    runs/experts/DIGEST/recipe.json             the recipe
    runs/experts/DIGEST/run.json, source.json   the name of the pool, and how an image folder was read
    runs/experts/DIGEST/finished.json           the digest of the pool, once it is stored
    runs/experts/DIGEST/network-N.safetensors   checkpoint of a network, until the pool is stored
    runs/experts/DIGEST/.network-N              held by the process that trains it: the same one, or a worker of it
    runs/experts/DIGEST/.here                   the marker by which workers recognise the folder
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import torch
from filelock import Timeout

import registry
from dsactl import __version__
from dsactl.data.catalogue import entry_of
from dsactl.data.dataset import Dataset
from dsactl.data.parts import training_split
from dsactl.engine.device import resolve_precision
from dsactl.engine.locks import hold
from dsactl.engine.progress import Progress
from dsactl.engine.run_files import FINISHED, RECIPE, RUN, SOURCE, write_json
from dsactl.engine.session import Session
from dsactl.engine.shared_folder import SharedFolder, offer
from dsactl.engine.tasks import Failure, LocalExecutor, Task
from dsactl.errors import INTERRUPTS, DataError, RunError, UsageError, continue_hint, explain_interrupt
from dsactl.expert_pools.expert import Expert, checkpoint_path, train_expert
from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest
from dsactl.networks.build import structure
from registry.locks import acquire
from registry.names import MAX_LENGTH
from registry.pool import MAX_TENSORS
from registry.tensors import describe

CHECKPOINT_SECONDS, WORKER_CHECKPOINT_SECONDS = 30.0, 5.0
"""Between checkpoints, as those of sets. A worker that is killed leaves nothing else."""

_METHOD = "experts"
_AGAIN = "Run the same again (without `fresh=True`) to retry it; finished networks and epochs are kept."


@dataclass(frozen=True)
class PoolJob:
    """A request with everything it needs, checked.

    Attributes:
        dataset: the training images, as both splits, on the CPU.
        recipe: resolved.
        name: of the pool in the store; None for `recipe.pool_name`, or that of a pool with the same recipe.
        any_precision: whether a pool in either precision will do.
        folder: options that an image folder was read with, for the pool's provenance; empty for a named dataset.
    """

    dataset: Dataset
    recipe: PoolRecipe
    name: registry.SetName | None
    any_precision: bool
    folder: Mapping[str, registry.JsonValue]


@dataclass(frozen=True)
class PoolOutcome:
    """A pool in the store.

    Attributes:
        stored: the pool.
        repeated: whether it had been made before and was only looked up.
    """

    stored: registry.StoredSet
    repeated: bool


def prepare(
    request: PoolRequest,
    dataset: Dataset,
    device: torch.device,
    name: registry.SetName | None = None,
    folder: Mapping[str, registry.JsonValue] = MappingProxyType({}),
) -> PoolJob:
    """Resolve a request for a dataset, and refuse whatever cannot work. The test images are not read.

    Args:
        request: the request.
        dataset: the dataset.
        device: where the networks will be trained.
        name: of the pool.
        folder: options that the dataset was read with, if it is an image folder.

    Raises:
        DsactlError: the network cannot take the images, the device does not have the precision, the dataset has fewer
            than two classes, or the pool would have too many tensors.
    """
    if dataset.classes < 2:
        raise DataError(f"{dataset.name} has {dataset.classes} class; experts need at least two.")
    own = training_split(dataset, torch.device("cpu"))
    shape = (own.channels, *own.size)
    recipe = request.resolve(own.name, own.train.checksum(), shape, resolve_precision(request.precision, device))
    network = structure(recipe.network, own.channels, own.size, own.classes)
    each = sum(1 for _ in network.parameters()) + sum(1 for _ in network.buffers())
    if (count := each * len(recipe.keep) * recipe.networks) > MAX_TENSORS:
        raise UsageError(
            f"{recipe.networks} networks, each kept at {len(recipe.keep)} epochs, have {count:,} tensors; a pool has "
            f"at most {MAX_TENSORS:,}.",
            "Keep fewer epochs with `keep`, or make pools of fewer `networks` with different `seed`.",
        )
    if name is None:
        try:
            registry.parse_name(recipe.pool_name)
        except registry.BadNameError:
            raise UsageError(
                f"The name {recipe.pool_name} is too long.", f"Give one of at most {MAX_LENGTH} characters with `name`."
            ) from None
    known = {} if entry_of(own.name) else {key: value for key, value in folder.items() if value is not None}
    return PoolJob(own, recipe, name, request.precision == "auto", known)


def find_pool(store: registry.Store, job: PoolJob) -> registry.StoredSet | None:
    """Return the newest undamaged pool of a job's recipe, under any name; None if the store has none.

    If there is none that keeps the job's epochs alone, one with others between the first and the last of them will do:
    its networks are the same.
    """
    recipes = [job.recipe]
    if job.any_precision:
        recipes.append(replace(job.recipe, precision="bfloat16" if job.recipe.precision == "float32" else "float32"))
    entries = [
        entry
        for entry in reversed(store.entries()[0])
        if entry.kind == registry.EXPERTS
        and entry.networks == job.recipe.networks
        and _has_epochs(entry.epochs, job.recipe.keep)
    ]
    entries.sort(key=lambda entry: tuple(entry.epochs) != job.recipe.keep)
    for recipe in recipes:
        for entry in entries:
            with contextlib.suppress(registry.NotFoundError, registry.CorruptError):
                stored = store.read(entry.name, entry.version)
                wanted = replace(recipe, keep=tuple(entry.epochs)).to_dict()
                if (stored.manifest.recipe, stored.manifest.dataset) == (wanted, dataset_info(job)):
                    store.tensors(stored)
                    return stored
    return None


def _has_epochs(kept: Sequence[int], wanted: Sequence[int]) -> bool:
    """Return whether a pool has the epochs that are wanted, with the same first and last one."""
    return bool(kept) and (kept[0], kept[-1]) == (wanted[0], wanted[-1]) and set(wanted) <= set(kept)


def find_or_make(
    job: PoolJob, session: Session, *, fresh: bool = False, wait: bool = False, checkpoint_every: float | None = None
) -> PoolOutcome:
    """Return the pool of a job: from the store, or made now and stored; an interrupted one is continued.

    Args:
        job: see `prepare`.
        session: has the store, the device, the executor that trains the networks, and the meter, which counts epochs of
            all networks.
        fresh: ignore a stored pool and checkpoints of the same recipe.
        wait: wait for another process that makes the pool, instead of refusing.
        checkpoint_every: smallest number of seconds between checkpoints; None for the default.

    Raises:
        RunError: another process makes the pool; a checkpoint is damaged or from another mode; a network diverged; a
            worker died repeatedly.
        registry.StoreError: the store cannot be written to.
        registry.ConflictError: the name is that of a set.
        KeyboardInterrupt: passed on after the checkpoints are written.
    """
    store = session.store
    if job.name is not None:
        store.check_kind_of_name(job.name, registry.EXPERTS)
    if not fresh and (found := _found(job, store)):
        return found
    store.check_kind_of_name(_name(job), registry.EXPERTS)

    def waiting() -> None:
        session.progress.update(0, 1, "waiting for another process that trains these experts")

    with _claimed(job, store, fresh=fresh, waiting=waiting if wait else None) as folder:
        if not fresh and (found := _found(job, store)):  # made by another process meanwhile
            return found
        (folder / FINISHED).unlink(missing_ok=True)  # its pool was removed, or is not wanted
        try:
            experts = _train(job, folder, session, checkpoint_every)
        except INTERRUPTS as interrupt:
            _explain(interrupt, folder, job.recipe, fresh=fresh)
            raise
        stored = _store(job, store, experts)
        seconds = stored.manifest.provenance["seconds"]
        write_json(folder / FINISHED, {"digest": stored.digest, "reference": stored.reference, "seconds": seconds})
        for expert in experts:
            checkpoint_path(folder, expert.index).unlink(missing_ok=True)
        return PoolOutcome(stored, repeated=False)


def _name(job: PoolJob) -> registry.SetName:
    return job.name or registry.parse_name(job.recipe.pool_name)


def _found(job: PoolJob, store: registry.Store) -> PoolOutcome | None:
    """Return the stored pool of a job, under the job's name if it has one."""
    stored = find_pool(store, job)
    if stored is None:
        return None
    if job.name not in (None, stored.name):
        stored = store.put(_name(job), store.tensors(stored), stored.manifest)
    return PoolOutcome(stored, repeated=True)


def pool_folder(store: registry.Store, recipe: PoolRecipe) -> Path:
    """Return the folder of a pool that is being made."""
    return store.home / "runs" / "experts" / recipe.digest()[:32]


@contextlib.contextmanager
def _claimed(job: PoolJob, store: registry.Store, *, fresh: bool, waiting: Callable[[], None] | None) -> Iterator[Path]:
    """Hold the lock of a pool in a block, and yield its folder."""
    store.check_writable()
    folder = pool_folder(store, job.recipe)
    try:
        lock = hold(folder / "lock", waiting)
    except Timeout:
        raise RunError(
            f"Another process is training these experts ({_name(job)}).", f"Wait for it. The folder is {folder}."
        ) from None
    try:
        if fresh:
            for index in range(job.recipe.networks):
                checkpoint_path(folder, index).unlink(missing_ok=True)
        write_json(folder / RECIPE, job.recipe.to_dict())
        write_json(folder / RUN, {"name": str(_name(job))})
        write_json(folder / SOURCE, job.folder)
        yield folder
    finally:
        lock.release()


def _train(job: PoolJob, folder: Path, session: Session, every: float | None) -> list[Expert]:
    """Train the networks of a pool that are not finished, each as a task, and return all in order."""
    recipe, executor = job.recipe, session.executor.choose(job.recipe.networks)
    paths = {index: checkpoint_path(folder, index) for index in range(recipe.networks)}
    begun = [Expert.read(path, index, recipe.keep) for index, path in paths.items() if path.exists()]
    experts = {expert.index: expert for expert in begun if expert.epoch == recipe.epochs}
    if every is None:
        every = CHECKPOINT_SECONDS if isinstance(executor, LocalExecutor) else WORKER_CHECKPOINT_SECONDS
    device, shared = executor.task_device(session.device), offer(folder)
    tasks = [
        Task(f"network {index}", _train_one, (recipe, index, shared, every, device), float(recipe.epochs))
        for index in paths
        if index not in experts
    ]
    failures = list[str]()
    before, work, total = (count * recipe.epochs for count in (len(experts), len(tasks), recipe.networks))
    progress = session.progress.part(before, work, total)
    for task, found in executor.run(job.dataset, tasks, progress) if tasks else ():
        if isinstance(found, Failure):
            failures.append(f"{task.name} failed: {found.message}.")
            continue
        found.save(folder)  # a worker may not have reached the folder
        experts[found.index] = found
    if failures:
        raise RunError(" ".join(failures), _AGAIN)
    return [experts[index] for index in paths]


def _train_one(
    dataset: Dataset,
    recipe: PoolRecipe,
    index: int,
    folder: SharedFolder,
    checkpoint_every: float,
    device: str,
    progress: Progress,
) -> Expert:
    """Train one network, in this process or a worker."""
    here = training_split(dataset, torch.device(device))
    with folder.use() as place, acquire(place / f".network-{index}"):  # a worker may outlive who started it for a while
        return train_expert(here, recipe, index, place, progress, checkpoint_every)


def _store(job: PoolJob, store: registry.Store, experts: list[Expert]) -> registry.StoredSet:
    """Store a pool as the next version of its name."""
    recipe = job.recipe
    tensors = {name: tensor.numpy() for expert in experts for name, tensor in expert.states.items()}
    environments = dict.fromkeys(each for expert in experts for each in expert.environments)
    provenance: dict[str, registry.JsonValue] = {
        "program": f"dsactl {__version__}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": "; then ".join(environments),
        "seconds": round(math.fsum(expert.seconds for expert in experts), 3),
        "training loss": [round(expert.losses[-1], 4) for expert in experts],
        **job.folder,
    }
    manifest = registry.Manifest(
        kind="experts",
        schema_version=registry.schema_of(registry.EXPERTS, recipe.to_dict()),
        dataset=dataset_info(job),
        method=_METHOD,
        recipe=recipe.to_dict(),
        network=recipe.network_label,
        seed=recipe.seed,
        tensors=describe(tensors, registry.EXPERTS),
        provenance=provenance,
        pool=registry.Pool(networks=recipe.networks, epochs=list(recipe.keep)),
    )
    return store.put(_name(job), tensors, manifest)


def dataset_info(job: PoolJob) -> registry.DatasetInfo:
    """Return what the manifest of a job's pool says of the dataset."""
    dataset = job.dataset
    return registry.DatasetInfo(
        name=dataset.name,
        split="train",
        checksum=job.recipe.checksum,
        class_names=list(dataset.class_names),
        mean=list(dataset.mean),
        std=list(dataset.std),
        counts=list(dataset.train.counts),
    )


def _explain(interrupt: BaseException, folder: Path, recipe: PoolRecipe, *, fresh: bool) -> None:
    """Add to an interrupt which networks and epochs are kept."""
    epochs = dict[int, int]()
    for index in range(recipe.networks):
        with contextlib.suppress(OSError, RunError):
            epochs[index] = Expert.read(checkpoint_path(folder, index), index, recipe.keep).epoch
    if not epochs:
        explain_interrupt(interrupt, "Interrupted before the first epoch was finished; nothing was kept.")
        return
    finished = sum(epoch == recipe.epochs for epoch in epochs.values())
    kept = [f"{finished} of {recipe.networks} networks are finished"] + [
        f"network {index} is kept after epoch {epoch} of {recipe.epochs}"
        for index, epoch in epochs.items()
        if epoch < recipe.epochs
    ]
    explain_interrupt(interrupt, f"Interrupted; {', '.join(kept)}.", continue_hint(fresh=fresh))
