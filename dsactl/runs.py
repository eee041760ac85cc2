"""One run, from what a user asks for to a set in the store; interrupted at any moment, it goes on to the same bits.

A run has a folder in the store's home, keyed by its recipe's digest:

    runs/DIGEST/lock               held by the process that works on it
    runs/DIGEST/recipe.json        what is being made
    runs/DIGEST/source.json        where its data set was read from on this machine
    runs/DIGEST/checkpoint.safetensors
    runs/DIGEST/events.jsonl       iteration, mean distance and seconds, about once a second
    runs/DIGEST/finished.json      the digest of the set, once it is stored
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import torch
from filelock import FileLock, Timeout

import registry
from dsactl import __version__
from dsactl.coresets import random as random_coreset
from dsactl.cost import count_work
from dsactl.dsa.condense import State, condense
from dsactl.engine.checkpoint import load_checkpoint, save_checkpoint
from dsactl.engine.compilation import can_compile
from dsactl.engine.device import describe
from dsactl.engine.memory import keep_freed_memory
from dsactl.errors import RunError
from dsactl.jobs import Job, run_folder
from dsactl.picture import grid_png
from dsactl.recipe import SYNTHESIS, Recipe
from registry.files import write_atomically
from registry.tensors import describe as describe_tensors

CHECKPOINT_SECONDS = 30.0  # a checkpoint takes milliseconds; half a minute of work is little to lose
EVENT_SECONDS = 1.0
COMPILE_OPERATIONS = 1e14  # about ten minutes of two CPU cores; compiling takes one and saves a third


@dataclass
class Progress:
    """What a run reports while it works.

    Attributes:
        done, total: inner steps.
        iteration: outer iteration.
        distance: mean over classes of the last matching distance that was looked at; None before the first.
        seconds: of work, earlier sittings included.
        doing: what it does now, in a few words.
    """

    done: int
    total: int
    iteration: int
    distance: float | None
    seconds: float
    doing: str = ""


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


@dataclass
class _Position:
    """The last whole state, the seconds that led to it, and the environments it was computed in."""

    state: State | None = None
    seconds: float = 0.0
    environments: list[str] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)


def execute(
    job: Job,
    store: registry.Store,
    *,
    fresh: bool = False,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Make the set, or go on making it, or find it made.

    Args:
        job: see `prepare`.
        store: where it goes.
        fresh: forget an earlier run of the same recipe.
        checkpoint_every: seconds between checkpoints, at least; one is also written when the run is interrupted.
        report: called after every inner step, and when the work changes.

    Raises:
        RunError: another process is at it; a checkpoint is damaged or of another device; the images diverged.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    folder = run_folder(store, job.recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"Another process is making {job.name} with this recipe.", f"Wait for it, or look at {folder}."
        ) from None
    except OSError as error:
        raise registry.StoreError(
            f"Cannot write to {folder}: {error.strerror or error}.", "Set DSACTL_HOME to a folder of yours."
        ) from error
    try:
        if fresh:
            for name in ("finished.json", "checkpoint.safetensors", "events.jsonl"):
                (folder / name).unlink(missing_ok=True)
        write_atomically(folder / "recipe.json", json.dumps(job.recipe.to_dict(), indent=1).encode())
        write_atomically(folder / "source.json", json.dumps(job.source, indent=1).encode())
        return _finished(folder, job, store) or _make(folder, job, store, checkpoint_every, report)
    finally:
        lock.release()


def _finished(folder: Path, job: Job, store: registry.Store) -> Outcome | None:
    """The set of a run that is done, under the job's name; None if it is not done or the set is gone or damaged."""
    try:
        done = json.loads((folder / "finished.json").read_text())
        stored = store.find(registry.Reference(None, digest=done["digest"]))
        tensors = store.tensors(stored)
        seconds = float(done["seconds"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, registry.NotFoundError, registry.CorruptError):
        return None
    if stored.name != job.name:
        picture = stored.picture.read_bytes() if stored.picture else None
        stored = store.put(job.name, tensors, stored.manifest, picture)
    return Outcome(stored, seconds, repeated=True)


def _make(
    folder: Path, job: Job, store: registry.Store, checkpoint_every: float, report: Callable[[Progress], None]
) -> Outcome:
    recipe = job.recipe
    if recipe.method in SYNTHESIS:
        position = _run_algorithm(folder, job, checkpoint_every, report)
        assert position.state is not None
        images_KICHW, seconds, environments = position.state.images_KICHW, position.seconds, position.environments
    else:
        began = time.monotonic()
        images_KICHW = random_coreset.choose(job.dataset, recipe.ipc, recipe.seed)
        seconds, environments = time.monotonic() - began, [_environment(job)]
    stored = _store(job, store, images_KICHW, seconds, environments)
    done = {"digest": stored.digest, "reference": stored.reference, "seconds": seconds}
    write_atomically(folder / "finished.json", json.dumps(done).encode())
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return Outcome(stored, seconds)


def _run_algorithm(folder: Path, job: Job, checkpoint_every: float, report: Callable[[Progress], None]) -> _Position:
    """Algorithm 1 from the checkpoint, if there is one, to the end."""
    recipe, checkpoint = job.recipe, folder / "checkpoint.safetensors"
    if job.device.type == "cpu":
        keep_freed_memory()
    position, compile_it = _restore(checkpoint, job)
    total = recipe.iterations * recipe.inner_steps
    last_event = 0.0
    progress = Progress(0, total, 0, None, position.seconds)
    if position.state is not None:
        progress.iteration = position.state.iteration
        progress.done = position.state.iteration * recipe.inner_steps + position.state.step

    def phase(doing: str) -> None:
        progress.doing = doing
        report(progress)

    if compile_it:
        phase("compiling, up to a minute")
        compile_it = _compiles(job, position)
    began, earlier = time.monotonic(), position.seconds
    with (folder / "events.jsonl").open("a") as events:
        try:
            for state in condense(job.dataset, recipe, position.state, compile_it=compile_it, phase=phase):
                now = time.monotonic()
                position.state, position.seconds = state, earlier + now - began
                progress.done = state.iteration * recipe.inner_steps + state.step
                progress.iteration, progress.seconds = state.iteration, position.seconds
                if now - last_event >= EVENT_SECONDS or progress.done == total:
                    progress.distance = _mean_distance(state, recipe)
                    last_event = now
                    _log(events, progress)
                report(progress)
                if now - position.saved >= checkpoint_every:
                    _save(checkpoint, job, position, compile_it)
        except RunError:
            raise
        except BaseException:
            # Ctrl-C above all; but whatever ends the run, the work so far is kept.
            _save(checkpoint, job, position, compile_it)
            raise
    _save(checkpoint, job, position, compile_it)
    assert position.state is not None
    return position


def _log(events: TextIO, progress: Progress) -> None:
    """Add a line to the events."""
    event = {
        "iteration": progress.iteration,
        "step": progress.done,
        "distance": progress.distance,
        "seconds": round(progress.seconds, 3),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    events.write(json.dumps(event) + "\n")
    events.flush()


def has_checkpoint(store: registry.Store, recipe: Recipe) -> bool:
    """Whether a recipe's run can go on from somewhere."""
    return (run_folder(store, recipe) / "checkpoint.safetensors").exists()


def _mean_distance(state: State, recipe: Recipe) -> float:
    distance = state.distance_K.mean().item()
    if not torch.isfinite(state.images_KICHW).all():
        raise RunError(
            f"The images diverged in iteration {state.iteration}: they are no longer finite.",
            f"Try a smaller --image-lr than {recipe.image_lr:g}, or --precision float32.",
        )
    return distance


def _mode(job: Job, compile_it: bool) -> dict[str, Any]:
    """What decides the bits besides the recipe."""
    return {"device": job.device.type, "compiled": compile_it}


def _environment(job: Job) -> str:
    """What may change the bits as well, and is recorded instead of refused."""
    return f"torch {torch.__version__}, {describe(job.device)}"


def _save(path: Path, job: Job, position: _Position, compile_it: bool) -> None:
    state = position.state
    if state is None:
        return
    tensors = {"images": state.images_KICHW, "velocity": state.velocity_KICHW, "distance": state.distance_K}
    tensors |= {f"parameter.{name}": tensor for name, tensor in state.parameters.items()}
    tensors |= {f"buffer.{name}": tensor for name, tensor in state.buffers.items()}
    about = {
        "iteration": state.iteration,
        "step": state.step,
        "seconds": position.seconds,
        "mode": _mode(job, compile_it),
        "environments": position.environments,
    }
    save_checkpoint(path, tensors, about)
    position.saved = time.monotonic()


def _restore(path: Path, job: Job) -> tuple[_Position, bool]:
    """Where to go on, and whether with compiled functions; the beginning where there is no checkpoint."""
    found = load_checkpoint(path, job.device)
    if found is None:
        return _Position(environments=[_environment(job)]), _worth_compiling(job)
    tensors, about = found
    shape = (job.dataset.classes, job.recipe.ipc, job.dataset.channels, *job.dataset.size)
    try:
        compile_it = bool(about["mode"]["compiled"])
        if about["mode"] != _mode(job, compile_it) or (compile_it and not can_compile(job.device.type)):
            raise RunError(
                f"The run was begun on {about['mode']['device']}"
                f"{' with a compiler' if compile_it else ''} and cannot go on on {job.device.type} to the same bits.",
                f"Use --device {about['mode']['device']}, or start over with --fresh.",
            )
        if tensors["images"].shape != shape:
            raise RunError(f"The checkpoint {path} is of other images.", "Start over with --fresh.")
        state = State(
            int(about["iteration"]),
            int(about["step"]),
            tensors["images"],
            tensors["velocity"],
            {name[10:]: tensor for name, tensor in tensors.items() if name.startswith("parameter.")},
            {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("buffer.")},
            tensors["distance"],
        )
        environments = list(dict.fromkeys([*map(str, about["environments"]), _environment(job)]))
        return _Position(state, float(about["seconds"]), environments), compile_it
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"The checkpoint {path} is damaged ({error!r}).", "Start over with --fresh.") from error


def _compiles(job: Job, position: _Position) -> bool:
    """Whether the run's own functions compile, tried on its next step; a run that began compiled must.

    Raises:
        RunError: it must and does not.
    """
    try:
        next(condense(job.dataset, job.recipe, position.state, compile_it=True))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the compiler stumbles over
        if position.state is None:
            return False
        raise RunError(
            f"The run was begun with a compiler, and compiling fails here ({type(error).__name__}).",
            "Start over with --fresh.",
        ) from error
    return True


def _worth_compiling(job: Job) -> bool:
    """Whether compiling pays: the run is long, and its batches are of one size, so that code is made once."""
    recipe = job.recipe
    return (
        min(job.dataset.train.counts) >= recipe.batch_real
        and count_work(recipe, job.dataset).operations >= COMPILE_OPERATIONS
        and can_compile(job.device.type)
    )


def _store(
    job: Job, store: registry.Store, images_KICHW: torch.Tensor, seconds: float, environments: list[str]
) -> registry.StoredSet:
    dataset, recipe = job.dataset, job.recipe
    images_NCHW = images_KICHW.flatten(0, 1).detach().float().cpu()
    labels_N = torch.arange(dataset.classes).repeat_interleave(recipe.ipc)
    tensors = {"images": images_NCHW.numpy(), "labels": labels_N.numpy()}
    manifest = registry.Manifest(
        dataset=registry.DatasetInfo(
            name=dataset.name,
            split="train",
            checksum=recipe.checksum,
            class_names=list(dataset.class_names),
            mean=list(dataset.mean),
            std=list(dataset.std),
            counts=list(dataset.train.counts),
        ),
        method=recipe.method,
        recipe=recipe.to_dict(),
        network=recipe.network_label,
        seed=recipe.seed,
        tensors=describe_tensors(tensors),
        provenance={
            "program": f"dsactl {__version__}",
            "environment": "; then ".join(environments),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
        },
    )
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    return store.put(job.name, tensors, manifest, grid_png(images_NCHW * std + mean, dataset.classes))
