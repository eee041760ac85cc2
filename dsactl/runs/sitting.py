"""One sitting of a run of Algorithm 1: from its checkpoint, or the beginning, to the end, or to an interruption.

A run is whole at any moment: its checkpoint is replaced by a later one or left alone, and says in which mode it was
computed, so that going on gives the bits of a run that was never interrupted.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import torch

from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import describe
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode, difference
from dsactl.engine.processes import ALONE, Processes, Rehearsal
from dsactl.errors import ProcessError, RunError
from dsactl.methods.gradient_matching.condense import State, condense
from dsactl.methods.gradient_matching.inner_step import choose_mode
from dsactl.methods.work import try_smaller
from dsactl.recipes.recipe import Recipe
from dsactl.runs.cost import count_work
from dsactl.runs.job import Job
from dsactl.training.sgd import tensors_of

CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_SECONDS = 30.0  # a checkpoint takes milliseconds; half a minute of work is little to lose
EVENT_SECONDS = 1.0
COMPILE_OPERATIONS = 5e12  # of the matching: about a minute of two CPU cores, of which compiling saves two thirds


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
class Position:
    """The last whole state, the seconds that led to it, and the environments it was computed in."""

    state: State | None = None
    seconds: float = 0.0
    environments: list[str] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)


def sit(
    folder: Path | None,
    job: Job,
    *,
    processes: Processes = ALONE,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    report: Callable[[Progress], None] = lambda progress: None,
    watch: Callable[[State], None] = lambda state: None,
) -> Position:
    """Algorithm 1 from the checkpoint, if there is one, to the end.

    Args:
        folder: the run's; None in processes other than the first, which write nothing.
        job: of method "dsa" or "dc".
        processes: that share the classes; each of them calls this function.
        checkpoint_every: seconds between checkpoints, at least; one is also written when the run is interrupted.
        report: called after every inner step, and when the work changes.
        watch: given the state after every inner step.

    Raises:
        RunError: the checkpoint is damaged or of another mode; the images diverged; another process died.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    recipe = job.recipe
    checkpoint = None if folder is None else folder / CHECKPOINT
    if job.device.type == "cpu":
        keep_freed_memory()
    position, mode = _restore(checkpoint, job, processes)
    total = recipe.iterations * recipe.inner_steps
    last_event = 0.0
    progress = Progress(0, total, 0, None, position.seconds)
    if position.state is not None:
        progress.iteration = position.state.iteration
        progress.done = position.state.iteration * recipe.inner_steps + position.state.step

    def phase(doing: str) -> None:
        progress.doing = doing
        report(progress)

    if mode.compiled or mode.captured:
        phase("compiling, up to a minute" if mode.compiled else "capturing")
        mode = _working(job, position, mode, processes, phase)
    position.environments = list(dict.fromkeys([*position.environments, f"{environment(job)}; {mode}"]))
    began, earlier = time.monotonic(), position.seconds
    with contextlib.nullcontext() if folder is None else (folder / "events.jsonl").open("a") as events:
        try:
            for state in condense(job.dataset, recipe, position.state, mode=mode, processes=processes, phase=phase):
                now = time.monotonic()
                position.state, position.seconds = state, earlier + now - began
                watch(state)
                progress.done = state.iteration * recipe.inner_steps + state.step
                progress.iteration, progress.seconds = state.iteration, position.seconds
                if now - last_event >= EVENT_SECONDS or progress.done == total:
                    _check_finite(state, recipe)
                    progress.distance = state.distance_K.mean().item()
                    last_event = now
                    _log(events, progress)
                report(progress)
                if now - position.saved >= checkpoint_every:
                    _save(checkpoint, position, mode)
        except RunError as error:
            if isinstance(error, ProcessError):
                _save(checkpoint, position, mode)
            raise
        except BaseException:
            # Ctrl-C above all; but whatever ends the run, the work so far is kept.
            _save(checkpoint, position, mode)
            raise
    _save(checkpoint, position, mode)
    return position


def _log(events: TextIO | None, progress: Progress) -> None:
    """Add a line to the events."""
    if events is None:
        return
    event = {
        "iteration": progress.iteration,
        "step": progress.done,
        "distance": progress.distance,
        "seconds": round(progress.seconds, 3),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    events.write(json.dumps(event) + "\n")
    events.flush()


def _check_finite(state: State, recipe: Recipe) -> None:
    if not torch.isfinite(state.images_KICHW).all():
        raise RunError(
            f"The images diverged in iteration {state.iteration}: they are no longer finite.",
            try_smaller(recipe, "image_lr"),
        )


def environment(job: Job) -> str:
    """What may change the bits as well, and is recorded instead of refused."""
    return f"torch {torch.__version__}, {describe(job.device)}"


def _save(path: Path | None, position: Position, mode: Mode) -> None:
    state = position.state
    if state is None or path is None:
        return
    tensors = {"images": state.images_KICHW, "velocity": state.velocity_KICHW, "distance": state.distance_K}
    tensors |= {f"parameter.{name}": tensor for name, tensor in state.parameters.items()}
    tensors |= {f"buffer.{name}": tensor for name, tensor in state.buffers.items()}
    about = {
        "iteration": state.iteration,
        "step": state.step,
        "seconds": position.seconds,
        "mode": mode.to_dict(),
        "environments": position.environments,
    }
    save_checkpoint(path, tensors, about)
    position.saved = time.monotonic()


def _restore(path: Path | None, job: Job, processes: Processes) -> tuple[Position, Mode]:
    """Where to go on, and in which mode; the beginning where there is no checkpoint. Process 0 reads for all."""
    data = processes.broadcast(path.read_bytes() if path is not None and path.exists() else b"")
    if not data:
        own = choose_mode(job.dataset, job.recipe, job.device, long=_worth_compiling(job), processes=processes)
        mode = Mode.from_dict(json.loads(processes.broadcast(json.dumps(own.to_dict()).encode())))
        return Position(), mode
    where = path or Path(CHECKPOINT)
    tensors, about = read_checkpoint(data, where, job.device)
    shape = (job.dataset.classes, job.recipe.ipc, job.dataset.channels, *job.dataset.size)
    try:
        mode = Mode.from_dict(about["mode"])
        way_out = difference(mode, job.device, processes.count)
        if way_out is not None:
            raise RunError(
                f"The run was begun on {mode} and cannot go on here to the same bits.",
                f"To go on, {way_out}; to start over, use --fresh.",
            )
        if tensors["images"].shape != shape:
            raise RunError(f"The checkpoint {where} is of other images.", "Start over with --fresh.")
        state = State(
            int(about["iteration"]),
            int(about["step"]),
            tensors["images"],
            tensors["velocity"],
            tensors_of(tensors, "parameter"),
            tensors_of(tensors, "buffer"),
            tensors["distance"],
        )
        return Position(state, float(about["seconds"]), list(map(str, about["environments"]))), mode
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"The checkpoint {where} is damaged ({error!r}).", "Start over with --fresh.") from error


def _working(job: Job, position: Position, mode: Mode, processes: Processes, phase: Callable[[str], None]) -> Mode:
    """The mode, without capturing or compiling where that fails for the run's own functions; tried on its next step.

    Every process tries by itself, and what fails in one of them is left by all.

    Raises:
        RunError: it fails, and the run was begun with it.
    """
    uncaptured = replace(mode, captured=False)
    for candidate in dict.fromkeys([mode, uncaptured, replace(uncaptured, compiled=False)]):
        failure = _failure(job, position, candidate, processes)
        worked = torch.tensor([[float(failure is None)]], device=job.device)
        if processes.gather(worked, processes.count).all():
            return candidate
        why = f"{type(failure).__name__}: {failure}".splitlines()[0] if failure else "in another process"
        if position.state is not None:
            raise RunError(
                f"The run was begun on {mode}, which fails here ({why}).", "Start over with --fresh."
            ) from failure
        if failure is not None and not (candidate.captured or candidate.compiled):
            raise failure
        phase(f"going on without, since it failed ({why})")
    raise RunError("Another process cannot take a step.", "Its own message says why.")


def _failure(job: Job, position: Position, mode: Mode, processes: Processes) -> Exception | None:
    """What goes wrong in the next step of this process's own part; None for nothing."""
    try:
        next(condense(job.dataset, job.recipe, position.state, mode=mode, processes=Rehearsal(processes)), None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the compiler, or the capture, stumbles over
        return error
    return None


def _worth_compiling(job: Job) -> bool:
    """Whether the matching is long enough."""
    return count_work(job.recipe, job.dataset).matching_operations >= COMPILE_OPERATIONS
