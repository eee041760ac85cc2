"""The share of a time budget that goes to the experts which a method learns from: none if the store has them."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import registry
from dsactl.engine.device import describe
from dsactl.engine.processes import Processes
from dsactl.engine.session import Session
from dsactl.errors import DataError, UsageError
from dsactl.expert_pools.estimate import seconds_per_epoch
from dsactl.expert_pools.make import PoolJob, find_pool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.settings import ExpertSettings, needs_experts
from dsactl.recipes.budget import as_budget, as_exact_budget
from dsactl.runs.experts import pool_job, refuse_to_share
from dsactl.runs.job import Job
from dsactl.text.formatting import duration, many

SHARE = 5 / 8
"""Largest share of a budget for training experts. Ours: it was not chosen by any accuracy."""
ENOUGH = 1 / 2
"""Of the experts, and of the epochs, that a budget allows: with as many, a pool of the store is taken instead. Ours."""
SETTINGS = {f"expert_{field}": field for field in ("networks", "epochs", "batch", "lr")}
"""The settings of experts that a method has, and the same in a pool's recipe."""
_PLENTY = 1 / 2
"""Of `SHARE`, in which the default epochs fit: then no more steps than the fewest are timed."""
_ROOM = 1.1
"""Times the budget that is just enough, which is recommended where one is too short."""


@dataclass(frozen=True)
class ExpertShare:
    """The experts of a run with a time budget.

    Attributes:
        settings: of the experts, by their names among the method's settings.
        seconds: of training them; 0 if the store has them.
        default: epochs without a budget.
        reference: of the pool in the store; "" if they are trained.
    """

    settings: Mapping[str, Any]
    seconds: float
    default: int
    reference: str = ""

    def applied(self, job: Job) -> Job:
        """Return the job with these experts."""
        return with_experts(job, self.settings)

    def sentence(self, budget: float) -> str:
        """Return what was chosen.

        Args:
            budget: seconds.
        """
        trained = f"{many(self.networks, 'network')} of {many(self.epochs, 'epoch')}"
        if self.reference:
            return f"The experts are those of {self.reference} ({trained}); no time is needed for them."
        default = "" if self.epochs == self.default else f" instead of {self.default}"
        return (
            f"About {duration(self.seconds)} of {as_exact_budget(budget)} are for training experts, which later sets "
            f"use again: {trained}{default}."
        )

    @property
    def networks(self) -> int:
        """The number of experts."""
        return int(self.settings["expert_networks"])

    @property
    def epochs(self) -> int:
        """The training epochs of each expert."""
        return int(self.settings["expert_epochs"])


def with_experts(job: Job, settings: Mapping[str, Any]) -> Job:
    """Return a job with other settings of the experts."""
    recipe = job.recipe
    changed = replace(recipe.settings_as(ExpertSettings), **settings)
    return replace(job, recipe=replace(recipe, settings=changed))


def share_of_experts(
    job: Job, budget: float, session: Session, *, given: Collection[str], allowed: float, processes: Processes
) -> ExpertShare | None:
    """Choose the experts of a run: those of its settings or of the store, or as many epochs as fit in `SHARE`.

    Args:
        job: with the default settings of the experts, except for those that are given.
        budget: seconds for the experts and all sets.
        session: has the store.
        given: names of settings that the user gave; these are not changed.
        allowed: seconds that timing may take if more than the fewest steps are timed.
        processes: of the run; they do not share the training of experts.

    Returns:
        The choice; None if the run needs no experts, or names them.

    Raises:
        UsageError: the budget is too short.
        RunError: experts are missing, and there are several processes.
    """
    if not needs_experts(job.recipe) or job.recipe.settings_as(ExpertSettings).experts:
        return None
    own, described = settings_of(job), pool_job(job)
    default, networks = own["expert_epochs"], own["expert_networks"]
    exact = find_pool(session.store, described)
    if exact is not None:
        return ExpertShare(own, 0.0, default, exact.reference)
    may_choose = "expert_epochs" not in given
    stored = list(_stored(job, described, session.store, given)) if may_choose else []
    if found := _longest(stored, networks, default):
        return found
    plenty = _PLENTY * SHARE * budget / (default * networks)
    epoch = networks * seconds_per_epoch(described, job.device, allowed, plenty)
    epochs = min(default, int(SHARE * budget / epoch)) if may_choose else default
    if found := _longest(stored, networks, epochs):
        return found
    if epochs < 1 or epochs * epoch >= budget:
        raise _too_short(job, budget, epochs, epoch)
    if processes.count > 1:
        refuse_to_share(job, epochs)
    return ExpertShare({**own, "expert_epochs": epochs}, epochs * epoch, default)


def settings_of(job: Job) -> dict[str, Any]:
    """Return the settings of a job's experts, by name."""
    wanted = job.recipe.settings_as(ExpertSettings)
    return {name: getattr(wanted, name) for name in SETTINGS}


def _stored(job: Job, described: PoolJob, store: registry.Store, given: Collection[str]) -> Iterator[ExpertShare]:
    """Yield the pools of the store that differ from the one that a job describes in settings that were not given.

    The newest are first.
    """
    own = settings_of(job)
    free = {field for name, field in SETTINGS.items() if name not in given}
    for entry in reversed(store.entries()[0]):
        if entry.kind != registry.EXPERTS:
            continue
        with contextlib.suppress(registry.NotFoundError, registry.CorruptError, DataError):
            recipe = PoolRecipe.from_dict(store.read(entry.name, entry.version).manifest.recipe)
            changed = {field: getattr(recipe, field) for field in (*free, "keep", "decay_at")}
            if replace(described.recipe, **changed) != recipe or (recipe.keep[0], recipe.keep[-1]) != (
                0,
                recipe.epochs,
            ):
                continue
            settings = {name: getattr(recipe, field) for name, field in SETTINGS.items()}
            found = find_pool(store, pool_job(with_experts(job, settings)))  # undamaged
            if found is not None:
                yield ExpertShare(settings, 0.0, own["expert_epochs"], found.reference)


def _longest(stored: Sequence[ExpertShare], networks: int, epochs: int) -> ExpertShare | None:
    """Return the pool with most epochs in all, of those that are enough where so many could be trained; or None."""
    enough = [share for share in stored if share.networks >= ENOUGH * networks and share.epochs >= ENOUGH * epochs]
    return max(enough, key=lambda share: share.networks * share.epochs, default=None)


def _too_short(job: Job, budget: float, epochs: int, epoch: float) -> UsageError:
    """Return the error for a budget in which the experts cannot be trained.

    Args:
        job, budget: see `share_of_experts`.
        epochs: of each expert, as they are given; 0 if not even one fits.
        epoch: seconds of an epoch of all experts.
    """
    experts = many(settings_of(job)["expert_networks"], "expert")
    if epochs:
        needs, seconds, enough = f"training its {experts}", epochs * epoch, epochs * epoch
        other = "leave out `expert_epochs`"
    else:
        needs, seconds, enough = f"one epoch of its {experts}", epoch, epoch / SHARE
        other = 'take a method without experts, such as `method="dm"`'
    return UsageError(
        f'`budget="{as_exact_budget(budget)}"` is too short for method {job.recipe.method!r}: {needs} takes '
        f"{duration(seconds)} on {describe(job.device)}.",
        f'Use at least `budget="{as_budget(_ROOM * enough)}"`, or {other}.',
    )
