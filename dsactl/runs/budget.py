"""The number of steps that fit in a time budget, from the times of a few steps of the run itself.

The steps are timed as the run will make them: compiled or captured, and shared by the same processes. What goes before
the first step, such as compiling, is measured apart and is not part of the budget. What was chosen is kept in the
store's home, so that the same call continues the same run after an interruption:

    runs/budgets/KEY.json      KEY is the digest of recipe, budget, number of sets, device and given settings of experts
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

import registry
from dsactl.engine.device import describe
from dsactl.engine.processes import SINGLE_PROCESS, Processes
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.engine.session import Session
from dsactl.errors import INTERRUPTS, UsageError, explain_interrupt
from dsactl.expert_pools.settings import ExpertSettings, needs_experts
from dsactl.recipes.budget import as_budget, as_exact_budget
from dsactl.recipes.methods import find
from dsactl.runs.expert_share import SHARE as EXPERT_SHARE
from dsactl.runs.expert_share import ExpertShare, share_of_experts
from dsactl.runs.experts import missing_pool
from dsactl.runs.job import Job
from dsactl.runs.trial import Trial, measure, would_compile
from dsactl.text.formatting import duration, many
from registry.files import write_atomically

MARGIN = 0.05
"""Share of a budget that is left free."""
TRIAL_SHARE, MOST_TRIAL = 0.03, 120.0
"""Share of a budget, and most seconds, that timing may take if more than the fewest steps are timed."""
_PLENTY, _HOPELESS = 0.5, 3
"""Times the budget that the default number of steps takes, or the fewest steps take, beyond which no more are timed."""
_ROOM = 1.2
"""Times the budget that is just enough, which is recommended where one is too short."""
_PLAIN, _COMPILED, _REFUSED = b"plain", b"compiled", b"refused"
"""Messages of process 0 to the others, before they try steps; the last is its choice, or that it refused."""


@dataclass(frozen=True)
class Choice:
    """The number of steps for a budget.

    Attributes:
        steps: chosen.
        default: steps without a budget, which are never exceeded.
        seconds: of one step.
        preparation: seconds before the first step, which are no part of the budget: of compiling, or of networks that a
            method trains first, other than experts.
        budget: seconds for all sets, and for missing experts.
        sets: their number.
        device: where the steps were timed.
        kept: whether they were timed by an earlier call.
        experts: which the sets are made with; None if they need none, or the recipe names them.
    """

    steps: int
    default: int
    seconds: float
    preparation: float
    budget: float
    sets: int
    device: str
    kept: bool = False
    experts: ExpertShare | None = None

    def applied(self, job: Job) -> Job:
        """Return the job with the steps and the experts that were chosen."""
        return (job if self.experts is None else self.experts.applied(job)).with_steps(self.steps)

    def sentences(self, job: Job) -> list[str]:
        """Return what was chosen and why, and what is not part of the budget.

        Args:
            job: that the budget is for.
        """
        name, left = find(job.recipe.method).steps_setting.replace("_", " "), self.budget
        experts = [] if self.experts is None else [self.experts.sentence(self.budget, kept=self.kept)]
        if self.experts is not None and self.experts.seconds:
            left -= self.experts.seconds
            share = "what is left"
        else:
            share = as_exact_budget(self.budget)
        if self.sets > 1:
            share = f"{as_budget(left / self.sets)} of {share}, for each of {self.sets} sets"
        each = f"{in_seconds(self.seconds)} each on {self.device}."
        if self.steps == self.default:
            chosen = f"All {self.steps:,} {name} fit in {share}, which is more than enough: {each}"
        else:
            fit = "fits" if self.steps == 1 else "fit"
            chosen = f"{self.steps:,} of the default {self.default:,} {name} {fit} in {share}: {each}"
        if self.kept:
            chosen += " An equal call has timed them; `fresh=True` does so again."
        before = f", and about {duration(self.preparation)} before the first step" if self.preparation >= 1 else ""
        return [*experts, chosen, f"Not part of the budget: evaluation{before}."]


def settle(
    job: Job,
    budget: float,
    session: Session,
    *,
    given: Collection[str] = (),
    sets: int = 1,
    processes: Processes = SINGLE_PROCESS,
    fresh: bool = False,
    dry: bool = False,
) -> Choice:
    """Choose the number of steps that fit in a budget, and the experts; or look up what an equal call chose.

    Args:
        job: with the default number of steps; of a method with a `steps_setting`.
        budget: seconds for making all sets, and the experts that they need if the store has none that will do.
        session: has the store, where the choice is kept, and the meter.
        given: names of settings that the user gave; those of experts are not changed then.
        sets: number of sets that share the budget.
        processes: that share the classes; this function is for process 0, and `follow` for the others.
        fresh: measure, whatever an equal call chose.
        dry: write nothing.

    Raises:
        UsageError: the budget is too short, or the method reports no steps.
        RunError: see `run_method`; or experts are missing, and there are several processes.
        registry.StoreError: the store cannot be written to.
        KeyboardInterrupt: passed on; nothing is kept of a measurement that does not end.
    """
    device = describe(job.device) + (f", {processes.count} processes" if processes.count > 1 else "")
    fixed = [sorted(set(ExpertSettings.names()) & set(given))] if needs_experts(job.recipe) else []
    key = json.dumps([job.recipe.digest(), budget, sets, device, *fixed]).encode()
    path = session.store.home / "runs" / "budgets" / f"{hashlib.sha256(key).hexdigest()[:32]}.json"
    choice = None if fresh else _kept(path, job, session.store)
    if choice is None:
        progress = session.progress.part(0, 0, 1, "measuring")
        progress.update(0, 1)
        try:
            if not dry:
                session.store.check_writable()
            allowed = min(TRIAL_SHARE * budget, MOST_TRIAL)
            experts = share_of_experts(job, budget, session, given=given, allowed=allowed, processes=processes)
            choice = _Trials(job, budget, sets, experts, progress, processes).choose(device)
        except registry.Error:
            processes.broadcast(_REFUSED)
            raise
        except INTERRUPTS as interrupt:
            explain_interrupt(interrupt, "Interrupted while measuring; nothing was kept.")
            raise
        choice = (None if fresh else _kept(path, job, session.store)) or choice  # an equal call may have kept one
        if not dry:
            write_atomically(path, json.dumps(asdict(choice)).encode())
    processes.broadcast(json.dumps(asdict(choice)).encode())
    return choice


def follow(job: Job, budget: float, sets: int, processes: Processes) -> Choice:
    """Take part in the measurement of process 0, and return its choice.

    Raises:
        ProcessError: another process died, or stopped.
        UsageError: process 0 refused the budget, and says why.
    """
    trials = _Trials(job, budget, sets, None, NO_PROGRESS, processes)
    while (said := processes.broadcast(b"")) in (_PLAIN, _COMPILED):
        trials.measure(compiled=said == _COMPILED)
    if said == _REFUSED:
        raise UsageError("Process 0 refused the budget.", "See its own message for the reason.")
    return _CHOICE.validate_json(said)


class _Trials:
    """Trials of a run with the default number of steps.

    Args:
        job, budget, sets, processes: see `settle`.
        experts: that the runs will have, on which the time of a step does not depend.
        progress: the meter.
    """

    def __init__(
        self,
        job: Job,
        budget: float,
        sets: int,
        experts: ExpertShare | None,
        progress: Progress,
        processes: Processes,
    ) -> None:
        self._job, self._budget, self._sets, self._progress = job, budget, sets, progress
        self._method, self._least = find(job.recipe.method), find(job.recipe.method).least_steps
        self._processes = processes if self._method.shares_classes else SINGLE_PROCESS
        self._experts, self._training = experts, 0.0 if experts is None else experts.seconds
        self._each = max(0.0, (1 - MARGIN) * budget - self._training) / sets

    def choose(self, device: str) -> Choice:
        """Return the choice. Long runs are compiled and short ones are not, so that there may have to be two trials.

        Args:
            device: see `Choice`.
        """
        trial = self._try_out(_PLAIN)
        steps = self._fitting(trial, device)
        if trial.compiles and would_compile(self._job.with_steps(steps), self._processes):
            trial = self._try_out(_COMPILED)
            steps = self._fitting(trial, device)
        default = self._job.recipe.steps
        return Choice(
            steps, default, trial.seconds, trial.preparation, self._budget, self._sets, device, experts=self._experts
        )

    def _try_out(self, how: bytes) -> Trial:
        self._processes.broadcast(how)
        return self.measure(compiled=how == _COMPILED)

    def measure(self, *, compiled: bool) -> Trial:
        """Time some steps, together with the other processes."""
        trial = Trial(
            self._job,
            self._progress,
            self._processes,
            allowed=min(TRIAL_SHARE * self._each, MOST_TRIAL),
            plenty=_PLENTY * self._each / self._job.recipe.steps,
            hopeless=_HOPELESS * self._each / self._least,
            compiled=compiled,
        )
        measure(trial, self._job)
        return trial

    def _fitting(self, trial: Trial, device: str) -> int:
        """Return how many steps fit, at most the default number.

        Raises:
            UsageError: the method reported none, or fewer than the fewest fit.
        """
        recipe = self._job.recipe
        if not trial.seconds:
            raise UsageError(
                f"`budget` is not for method {recipe.method!r}, which reports no steps.",
                "Call `work.keep` after each of them; see docs/methods.md.",
            )
        fitting = int(self._each / trial.seconds)
        if fitting < self._least:
            name = self._method.steps_setting.replace("_", " ")
            few = f"{many(self._least, name.removesuffix('s'))} {'takes' if self._least == 1 else 'take'}"
            each = f" for each of {self._sets} sets" if self._sets > 1 else ""
            each += f", beside {duration(self._training)} for training experts," if self._training else ""
            least, whole = (trial.seconds * steps * self._sets for steps in (self._least, recipe.steps))
            needed = max(least / (1 - EXPERT_SHARE), least + self._training) if self._training else least
            raise UsageError(
                f'`budget="{as_exact_budget(self._budget)}"` is too short for method {recipe.method!r} at '
                f"`ipc={recipe.ipc}`: {few} {in_seconds(self._least * trial.seconds)}{each} on {device}.",
                f'Use at least `budget="{as_budget(_ROOM * needed)}"`; the default {recipe.steps:,} {name} take '
                f"{as_budget(whole)}.",
            )
        return min(fitting, recipe.steps)


_CHOICE = TypeAdapter(Choice)


def _kept(path: Path, job: Job, store: registry.Store) -> Choice | None:
    """Return the choice in a file.

    None if there is none, it cannot be read, or it counts on a pool of experts that the store does not have any more.
    """
    try:
        choice = _CHOICE.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not 1 <= choice.steps <= choice.default:
        return None
    counts_on_pool = choice.experts is not None and choice.experts.reference
    if counts_on_pool and missing_pool(choice.applied(job), store) is not None:
        return None
    return replace(choice, kept=True)


def in_seconds(seconds: float) -> str:
    """Format the duration of a step: "0.0123 s", "1.32 s", "2 min 05 s"."""
    return f"{seconds:.3g} s" if seconds < 60 else duration(seconds)
