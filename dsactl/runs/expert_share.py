"""The share of a time budget that goes to the experts which a method learns from: none if the store has them."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import registry
from dsactl.engine.device import describe
from dsactl.engine.processes import Processes
from dsactl.engine.session import Session
from dsactl.errors import DataError, UsageError
from dsactl.expert_pools.estimate import seconds_per_epoch
from dsactl.expert_pools.make import find_pool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.settings import ExpertSettings, needs_experts
from dsactl.recipes.budget import as_budget, as_exact_budget
from dsactl.runs.experts import pool_job, refuse_to_share
from dsactl.runs.job import Job
from dsactl.text.formatting import duration, many

SHARE = 5 / 8
"""Largest share of a budget for training experts. Ours: it was not chosen by any accuracy."""
ENOUGH = 1 / 2
"""Of the epochs that a budget allows, in all networks together: with as many, a pool of the store is taken instead."""
SETTINGS = {f"expert_{field}": field for field in ("networks", "epochs", "batch", "lr")}
"""The settings of experts that a method has, and the same in a pool's recipe."""
_ROOM = 1.1
"""Times the budget that is just enough for an epoch of each expert, which is recommended where one is too short."""


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
        if self.reference:
            return f"The experts are {self.reference}, which the store has; no time is needed for them."
        networks, epochs = self.settings["expert_networks"], self.settings["expert_epochs"]
        default = "" if epochs == self.default else f" instead of {self.default}"
        return (
            f"About {duration(self.seconds)} of {as_exact_budget(budget)} are for training experts, which later sets "
            f"use again: {many(networks, 'network')} of {many(epochs, 'epoch')}{default}."
        )


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
    longest = max(_stored(job, session.store, given), key=_work, default=None) if may_choose else None
    if longest is not None and (processes.count > 1 or _work(longest) >= ENOUGH * default * networks):
        return longest
    if processes.count > 1:
        refuse_to_share(job)
    epoch = networks * seconds_per_epoch(described, job.device, allowed)
    epochs = min(default, int(SHARE * budget / epoch)) if may_choose else default
    if longest is not None and _work(longest) >= ENOUGH * epochs * networks:
        return longest
    if epochs < 1 or epochs * epoch >= budget:
        raise _too_short(job, budget, epochs, epoch)
    return ExpertShare({**own, "expert_epochs": epochs}, epochs * epoch, default)


def settings_of(job: Job) -> dict[str, Any]:
    """Return the settings of a job's experts, by name."""
    wanted = job.recipe.settings_as(ExpertSettings)
    return {name: getattr(wanted, name) for name in SETTINGS}


def _stored(job: Job, store: registry.Store, given: Collection[str]) -> Iterator[ExpertShare]:
    """Yield the pools of the store that a job can have with other settings than its own, the newest first."""
    own = settings_of(job)
    for entry in reversed(store.entries()[0]):
        if entry.kind != registry.EXPERTS:
            continue
        with contextlib.suppress(registry.NotFoundError, registry.CorruptError, DataError):
            recipe = PoolRecipe.from_dict(store.read(entry.name, entry.version).manifest.recipe)
            settings = {name: getattr(recipe, field) for name, field in SETTINGS.items()}
            as_given = all(settings[name] == own[name] for name in own.keys() & given)
            if as_given and recipe.checksum == job.recipe.checksum:
                found = find_pool(store, pool_job(with_experts(job, settings)))
                if found is not None:
                    yield ExpertShare(settings, 0.0, own["expert_epochs"], found.reference)


def _work(share: ExpertShare) -> float:
    """Return the epochs of all networks together."""
    return float(share.settings["expert_networks"] * share.settings["expert_epochs"])


def _too_short(job: Job, budget: float, epochs: int, epoch: float) -> UsageError:
    """Return the error for a budget in which the experts cannot be trained.

    Args:
        job, budget: see `share_of_experts`.
        epochs: of each expert; 0 if not even one fits.
        epoch: seconds of an epoch of all experts.
    """
    experts = many(settings_of(job)["expert_networks"], "expert")
    needs = f"training its {experts}" if epochs else f"one epoch of its {experts}"
    other = "leave out `expert_epochs`" if epochs else 'take a method without experts, such as `method="dm"`'
    return UsageError(
        f'`budget="{as_exact_budget(budget)}"` is too short for method {job.recipe.method!r}: {needs} takes '
        f"{duration(max(epochs, 1) * epoch)} on {describe(job.device)}.",
        f'Use at least `budget="{as_budget(_ROOM * max(epochs, 1) * epoch / SHARE)}"`, or {other}.',
    )
