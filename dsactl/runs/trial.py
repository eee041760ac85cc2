"""A trial of a run: a few of its steps, timed as the run will make them. Nothing is stored."""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor

from dsactl.engine.clock import Clock, upper_quartile
from dsactl.engine.memory import release_gpu_memory
from dsactl.engine.mode import Mode
from dsactl.engine.processes import Processes
from dsactl.engine.progress import Progress
from dsactl.methods.work import MethodContext
from dsactl.recipes.methods import find
from dsactl.runs.experts import untrained_experts
from dsactl.runs.job import Job
from dsactl.runs.runner import CheckpointedContext, run_in

LEAST_TIMED = 3
"""Reports that are timed at least, after one of warm-up."""


class _EnoughError(BaseException):
    """A trial has seen enough. No method takes it for a fault of its own."""


class Trial(CheckpointedContext):
    """A run that keeps nothing, and ends once enough of its reports to `keep` are timed.

    Args:
        job: of a method with a `steps_setting`.
        progress: the meter.
        processes: that share the classes; process 0 decides when it is enough.
        allowed: seconds that timing may take, once `LEAST_TIMED` reports are timed.
        plenty, hopeless: seconds of a step below which, and from which on, it is not worth timing more than the least,
            and more than one.
        compiled: whether a mode that the method compiles is tried as such.

    Attributes:
        compiles: whether the method would compile a run of this length.
    """

    def __init__(
        self,
        job: Job,
        progress: Progress,
        processes: Processes,
        *,
        allowed: float,
        plenty: float,
        hopeless: float,
        compiled: bool,
    ) -> None:
        experts = untrained_experts(job.recipe, job.dataset)
        super().__init__(None, job, progress, experts, processes, math.inf, lambda done, tensors: None)
        self._allowed, self._plenty, self._hopeless = allowed, plenty, hopeless
        self._may_compile, self.compiles = compiled, False
        self._clock, self._dones, self._reports = Clock(self.device), [0], 0
        self._clock.mark()

    def settle_mode(self, choose: Callable[[], Mode], try_out: Callable[[Mode], object]) -> Mode:
        def permitted() -> Mode:
            mode = choose()
            self.compiles = mode.compiled
            return mode if self._may_compile else replace(mode, compiled=False)

        return super().settle_mode(permitted, try_out)

    def keep(self, done: int, total: int, tensors: Mapping[str, Tensor], **how: Any) -> None:
        super().keep(done, total, tensors, **how)
        self._reports = total
        if done > self._dones[-1]:
            self._clock.mark()
            self._dones.append(done)
        if self.processes.broadcast(b"enough" if self._has_enough() else b"more") == b"enough":
            raise _EnoughError

    def _has_enough(self) -> bool:
        timed = len(self._dones) - 2
        if timed < LEAST_TIMED:
            return timed > 0 and self.seconds >= self._hopeless
        if timed == LEAST_TIMED and self.seconds < self._plenty:  # not every time, for it would take time itself
            return True
        return self._clock.marks[-1] - self._clock.marks[1] >= self._allowed

    @property
    def seconds(self) -> float:
        """Seconds of a step; 0 if the method has reported nothing.

        A step may have several reports, of which the last is often another kind of work than the others: the last inner
        step of an iteration of Algorithm 1 has no training after it.
        """
        if len(self._dones) < 2:
            return 0.0
        spans = list(zip(self._dones[1:], self._spans, strict=True))
        spans = spans[1:] or spans  # the first warms up
        per_step, rest = divmod(self._reports, self.recipe.steps)
        if rest:
            return self._reports / self.recipe.steps * upper_quartile([span for _, span in spans])
        last = [span for done, span in spans if done % per_step == 0]
        others = [span for done, span in spans if done % per_step]
        return (per_step - 1) * upper_quartile(others or last) + upper_quartile(last or others)

    @property
    def preparation(self) -> float:
        """Seconds before the first report that are more than its own, such as those of compiling."""
        return max(0.0, self._clock.marks[1] - self._clock.marks[0] - upper_quartile(self._spans[1:] or self._spans))

    @property
    def _spans(self) -> list[float]:
        """Seconds between reports; of several that were reported as one, the seconds of each."""
        times = zip(self._clock.spans(), pairwise(self._dones), strict=True)
        return [time / (done - before) for time, (before, done) in times]


def measure(trial: Trial, job: Job) -> None:
    """Run a trial, and free the memory that it took on a GPU.

    Args:
        trial: of the job.
        job: see `run_method`.
    """
    with contextlib.suppress(_EnoughError):
        run_in(trial, job)
    release_gpu_memory(job.device)


class _Probe(MethodContext):
    """A run that ends once its mode is chosen."""

    def settle_mode(self, choose: Callable[[], Mode], try_out: Callable[[Mode], object]) -> Mode:
        super().settle_mode(choose, try_out)
        raise _EnoughError


def would_compile(job: Job, processes: Processes) -> bool:
    """Return whether a run would be compiled, of a method that settles a mode."""
    probe = _Probe(job.dataset, job.recipe, processes, untrained_experts(job.recipe, job.dataset))
    with contextlib.suppress(_EnoughError):
        find(job.recipe.method).load()(probe)
    return probe.mode.compiled
