"""The runner of methods: from the checkpoint or from scratch, to the set or to an interruption.

A run can be interrupted at any moment. Its checkpoint is replaced atomically and states the mode of the computation, so
that a resumed run gives the same bits as one that was never interrupted. After each step a method hands over the
tensors that it needs to continue (`MethodContext.keep`). They are written to the checkpoint at intervals, and whenever
the method ends early.
"""

import json
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.device import describe
from dsactl.engine.locks import writable_folder
from dsactl.engine.memory import keep_freed_memory
from dsactl.engine.mode import Mode, mode_mismatch
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.progress import NO_FIGURES, Progress
from dsactl.engine.run_files import CHECKPOINT, EVENTS
from dsactl.errors import ProcessError, RunError, is_out_of_memory
from dsactl.expert_pools.pool import ExpertPool
from dsactl.methods.work import CondensedSet, MethodContext
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.runs.job import Job
from dsactl.runs.made_check import checked
from dsactl.runs.steps import steps_of
from registry.errors import Error

CHECKPOINT_SECONDS = 30.0  # a checkpoint takes milliseconds, and half a minute of work is little to lose
EVENT_SECONDS = 1.0

Watch = Callable[[int, Mapping[str, Tensor]], None]
"""Takes the number of steps done, and the tensors that a method keeps."""


@dataclass(frozen=True)
class Product:
    """The result of a run, before it is stored.

    Attributes:
        made: the set.
        seconds: of work, including those before interruptions.
        environments: descriptions of those it was made in.
    """

    made: CondensedSet
    seconds: float
    environments: list[str]


def run_method(
    folder: Path | None,
    job: Job,
    progress: Progress,
    *,
    experts: ExpertPool | None = None,
    processes: Processes = SINGLE_PROCESS,
    checkpoint_every: float = CHECKPOINT_SECONDS,
    watch: Watch = lambda done, tensors: None,
) -> Product:
    """Run a job's method to its end.

    Args:
        folder: the run's; None in processes other than the first, which write nothing.
        job: of any method.
        progress: updated after every step that the method reports, and when the work changes.
        experts: the pool that the job's settings name or describe (`dsactl.runs.experts`).
        processes: that share the classes; each of them calls this function.
        checkpoint_every: smallest number of seconds between checkpoints; one is also written on an interruption.
        watch: called after every step with the tensors that the method keeps.

    Raises:
        RunError: the checkpoint is damaged or from another mode; the numbers diverged; the method returned no valid
            set; or it is a method of another package, and failed.
        ProcessError: another process died.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    return run_in(CheckpointedContext(folder, job, progress, experts, processes, checkpoint_every, watch), job)


def run_in(work: "CheckpointedContext", job: Job) -> Product:
    """Run a job's method in a context to its end; see `run_method`."""
    if job.device.type == "cpu":
        keep_freed_memory()
    try:
        made = find(job.recipe.method).load()(work)
    except ProcessError:
        work.save()
        raise
    except RunError:
        raise  # diverged numbers are not worth a checkpoint
    except BaseException as error:
        # Above all Ctrl-C; but the work so far is saved whatever ends the run.
        work.save()
        if job.recipe.method not in BUILT_IN and error is not work.from_caller and _is_a_fault(error):
            raise RunError(
                f"The method {job.recipe.method!r} failed: {_summary(error)}, at {_location(error)}.",
                "Fix it in its package; DSACTL_DEBUG=1 shows the traceback.",
            ) from error
        raise
    product = Product(checked(made, job), work.seconds, work.environments)
    work.save()
    return product


class CheckpointedContext(MethodContext):
    """A run whose checkpoint is a file in the run's folder, together with a log of events.

    Attributes:
        from_caller: the exception that the meter or `watch` raised, if any.
    """

    def __init__(
        self,
        folder: Path | None,
        job: Job,
        progress: Progress,
        experts: ExpertPool | None,
        processes: Processes,
        every: float,
        watch: Watch,
    ) -> None:
        super().__init__(job.dataset, job.recipe, processes, experts)
        self._folder, self._job, self._progress, self._every, self._watch = folder, job, progress, every, watch
        self._path = None if folder is None else folder / CHECKPOINT
        self._total, self._doing, self._figures = 1, "", NO_FIGURES
        self._seconds = 0.0  # at the last step
        self._tensors: Mapping[str, Tensor] = {}
        self._begun: Mode | None = None
        self._environments: list[str] = []
        self._earlier = 0.0
        self._logged = -math.inf
        self.from_caller: Exception | None = None
        self._read(processes.broadcast(self._bytes()))
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of work, including those before interruptions."""
        return self._earlier + time.monotonic() - self._started

    @property
    def environments(self) -> list[str]:
        """Descriptions of the environments that the set was made in: what may change its bits, and is not refused."""
        here = f"torch {torch.__version__}, {describe(self._job.device)}; {self.mode}"
        return list(dict.fromkeys([*self._environments, here]))

    @property
    def wants_figures(self) -> bool:
        return time.monotonic() - self._logged >= EVENT_SECONDS

    def resume(self) -> dict[str, Tensor]:
        return {name: tensor.detach().to(self.device, copy=True) for name, tensor in self._tensors.items()}

    def settle_mode(self, choose: Callable[[], Mode], try_out: Callable[[Mode], object]) -> Mode:
        mode = self._begun
        if mode is None:
            # All processes must use the same mode: that of process 0.
            mode = Mode.from_dict(json.loads(self.processes.broadcast(json.dumps(choose().to_dict()).encode())))
        if mode.compiled or mode.captured:
            self.report("compiling, up to a minute" if mode.compiled else "capturing")
            mode = self._working(mode, try_out)
        self.mode, self._started = mode, time.monotonic()
        return mode

    def keep(
        self,
        done: int,
        total: int,
        tensors: Mapping[str, Tensor],
        *,
        loss: float | None = None,
        figures: Mapping[str, float] | None = None,
        doing: str = "",
        copy: bool = True,
    ) -> None:
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise TypeError(f"keep() takes tensors; {name!r} is of type {type(tensor).__name__}")
        now = time.monotonic()
        self.done, self._tensors = done, _copies(tensors) if copy else dict(tensors)
        figures = {**({} if loss is None else {"loss": loss}), **(figures or {})}
        self._total, self._seconds = total, self.seconds
        logged = bool(figures) and (now - self._logged >= EVENT_SECONDS or done == total)
        figures |= _norms(tensors) if logged else {}
        self._figures, self._doing = figures or self._figures, doing or self._doing
        if logged:
            self._logged = now
            self._log(figures)
        self._tell(lambda: self._watch(done, tensors))
        if now - self._saved >= self._every:
            self.save()
        self._update()

    def expect(self, total: int) -> None:
        self._total = total

    def report(self, doing: str) -> None:
        self._doing = doing
        self._update()

    def refuse_checkpoint(self, reason: str) -> NoReturn:
        raise RunError(f"The checkpoint {self._path or CHECKPOINT} {reason}.", self._hint())

    def save(self) -> None:
        """Write the checkpoint, if the method has kept any tensors."""
        if self._tensors and self._path is not None:
            about = {
                "done": self.done,
                "total": self._total,
                "seconds": self._seconds,
                "mode": self.mode.to_dict(),
                "environments": self.environments,
            }
            save_checkpoint(self._path, self._tensors, about)
            self._saved = time.monotonic()

    def _update(self) -> None:
        self._tell(lambda: self._progress.update(self.done, self._total, self._doing, self._figures))

    def _tell(self, call: Callable[[], None]) -> None:
        """Call a function that is not part of the method, and record the exception that it raises."""
        try:
            call()
        except Exception as error:
            self.from_caller = error
            raise

    def _log(self, figures: Mapping[str, float]) -> None:
        """Add a line to the log of events."""
        if self._folder is None:
            return
        event = {
            "step": self.done,
            "total": self._total,
            **figures,
            "seconds": round(self._seconds, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with writable_folder(self._folder), (self._folder / EVENTS).open("a") as events:
            events.write(json.dumps(event) + "\n")

    def _bytes(self) -> bytes:
        return self._path.read_bytes() if self._path is not None and self._path.exists() else b""

    def _read(self, data: bytes) -> None:
        """Resume from a checkpoint, if there is one; process 0 has read it for all processes."""
        if not data:
            return
        # On the CPU until the method keeps others: the device has room for those that `resume` returns.
        self._tensors, about = read_checkpoint(data, self._path or Path(CHECKPOINT), torch.device("cpu"))
        try:
            begun = Mode.from_dict(about["mode"])
            self.done, self._earlier = steps_of(about, self.recipe), float(about["seconds"])
            self._environments = list(map(str, about["environments"]))
        except (KeyError, TypeError, ValueError) as error:
            self.refuse_checkpoint(f"is damaged ({error!r})")
        if not self._tensors:
            self.refuse_checkpoint("is damaged (it is empty)")
        way_out = mode_mismatch(begun, self.device, self.processes.count)
        # A method of another package may use dsactl's layers without regard to the mode its run was started in.
        if way_out is None and self.recipe.method not in BUILT_IN and begun.native != self.mode.native:
            way_out = "set DSACTL_NATIVE=0"
        if way_out is not None:
            raise RunError(
                f"The checkpoint was written on {begun}; it cannot be resumed bit-exactly on {self.mode}.",
                self._hint(f"To continue it, {way_out}; to start over, "),
            )
        self.mode = self._begun = begun
        self._seconds = self._earlier

    def _hint(self, before: str = "To start over, ") -> str:
        """Return how to start over, for callers with and without the parameter `fresh`."""
        where = "" if self._path is None else f", or remove {self._path}"
        return f"{before}use `fresh=True`{where}."

    def _working(self, mode: Mode, try_out: Callable[[Mode], object]) -> Mode:
        """Return the mode, without capturing or compiling if that fails for the run's own functions.

        Every process tries by itself; all drop what fails in one of them.

        Raises:
            RunError: it fails, and the run was started with it.
        """
        uncaptured = replace(mode, captured=False)
        for candidate in dict.fromkeys([mode, uncaptured, replace(uncaptured, compiled=False)]):
            failure = _failure(try_out, candidate)
            worked = torch.tensor([[float(failure is None)]], device=self.device)
            if self.processes.gather(worked, self.processes.count).all():
                return candidate
            why = f"{type(failure).__name__}: {failure}".splitlines()[0] if failure else "in another process"
            if self._begun is not None:
                raise RunError(f"The run was started on {mode}, which fails here ({why}).", self._hint()) from failure
            if failure is not None and not (candidate.captured or candidate.compiled):
                raise failure
            self.report(f"continuing without, since it failed ({why})")
        raise RunError("Another process cannot take a step.", "See its own message for the reason.")


def _failure(try_out: Callable[[Mode], object], mode: Mode) -> Exception | None:
    """Return the exception of this process's own part of a step; None if it works."""
    try:
        try_out(mode)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the compiler and the capture raise many kinds
        return error
    return None


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, which may then be changed in place."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the norms of the images and of their gradient with momentum, normalised, of methods that keep them."""
    names = {"images": "image norm", "velocity": "gradient norm"}
    return {names[name]: tensors[name].detach().float().norm().item() for name in names if name in tensors}


def _is_a_fault(error: BaseException) -> bool:
    """Return whether an exception is a fault: no error with a message for users, and no lack of memory."""
    return isinstance(error, Exception) and not isinstance(error, Error) and not is_out_of_memory(error)


def _summary(error: BaseException) -> str:
    """Return the type, and the first line of the message if there is one."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _location(error: BaseException) -> str:
    """Return FILE:LINE where an exception was raised; if torch or dsactl raised it, where they were called."""
    frames = list(traceback.walk_tb(error.__traceback__))
    theirs = [(frame, line) for frame, line in frames if _package(frame.f_globals) not in ("torch", "dsactl")]
    frame, line = (theirs or frames)[-1]
    return f"{frame.f_code.co_filename}:{line}"


def _package(names: Mapping[str, object]) -> str:
    return str(names.get("__name__")).partition(".")[0]
