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
from dsactl.expert_pools.make import PoolJob, dataset_info, find_pool
from dsactl.expert_pools.recipe import PoolRecipe
from dsactl.expert_pools.settings import ExpertSettings, needs_experts, settings_of_pool
from dsactl.recipes.budget import as_budget, as_exact_budget
from dsactl.runs.experts import pool_job, refuse_to_share
from dsactl.runs.job import Job
from dsactl.text.formatting import duration, many

SHARE = 5 / 8
"""Largest share of a budget for training experts. Ours: it was not chosen by any accuracy."""
ENOUGH = 1 / 2
"""Of the experts, and of the epochs, that a budget allows: with as many, a pool of the store is taken instead. Ours."""
_VARIED = ("networks", "epochs", "keep", "decay_at", "batch", "lr")
"""What `settings_of_pool` sets in a pool's recipe, and what follows from it."""
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
        return replace(job, recipe=job.recipe.with_settings(**self.settings))

    def sentence(self, budget: float, *, kept: bool = False) -> str:
        """Return what was chosen.

        Args:
            budget: seconds.
            kept: whether an earlier call chose it, which may have trained the experts.
        """
        trained = f"{many(self.networks, 'network')} of {many(self.epochs, 'epoch')}"
        if self.reference:
            return f"The experts are those of {self.words}; no time is needed for them."
        default = "" if self.epochs == self.default else f" instead of {self.default}"
        return (
            f"About {duration(self.seconds)} of {as_exact_budget(budget)} {'were' if kept else 'are'} for training "
            f"experts, which later sets use again: {trained}{default}."
        )

    @property
    def words(self) -> str:
        """A pool of the store in words: "a:1 (5 networks of 20 epochs)"."""
        return f"{self.reference} ({many(self.networks, 'network')} of {many(self.epochs, 'epoch')})"

    @property
    def networks(self) -> int:
        """The number of experts."""
        return int(self.settings["expert_networks"])

    @property
    def epochs(self) -> int:
        """The training epochs of each expert."""
        return int(self.settings["expert_epochs"])


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
    described = pool_job(job)
    own, default, networks = settings_of_pool(described.recipe), described.recipe.epochs, described.recipe.networks
    exact = find_pool(session.store, described)
    if exact is not None:
        return ExpertShare(own, 0.0, default, exact.reference)
    may_choose = "expert_epochs" not in given
    stored = list(usable_pools(described, session.store, given)) if may_choose else []
    if found := _longest(stored, networks, default):
        return found
    plenty = _PLENTY * SHARE * budget / (default * networks)
    epoch = networks * seconds_per_epoch(described, job.device, allowed, plenty)
    epochs = min(default, int(SHARE * budget / epoch)) if may_choose else default
    if found := _longest(stored, networks, epochs):
        return found
    if epochs < 1 or epochs * epoch >= budget:
        raise _too_short(job, networks, budget, epochs, epoch)
    if processes.count > 1:
        refuse_to_share(job, epochs)
    return ExpertShare({**own, "expert_epochs": epochs}, epochs * epoch, default)


def usable_pools(described: PoolJob, store: registry.Store, given: Collection[str]) -> Iterator[ExpertShare]:
    """Yield the undamaged pools of the store that differ from a job's only in settings that were not given.

    The newest are first.

    Args:
        described: the job of the pool that the settings of a run describe.
        store: has the pools.
        given: names of settings of the run that the user gave.
    """
    own = settings_of_pool(described.recipe)
    for entry in reversed(store.entries()[0]):
        if entry.kind != registry.EXPERTS:
            continue
        with contextlib.suppress(registry.NotFoundError, registry.CorruptError, DataError):
            stored = store.read(entry.name, entry.version)
            recipe = PoolRecipe.from_dict(stored.manifest.recipe)
            settings = settings_of_pool(recipe)
            varied = replace(described.recipe, **{field: getattr(recipe, field) for field in _VARIED})
            fits = (varied, dataset_info(described)) == (recipe, stored.manifest.dataset)
            as_given = all(settings[name] == own[name] for name in own.keys() & given)
            if fits and as_given and (recipe.keep[0], recipe.keep[-1]) == (0, recipe.epochs):
                store.tensors(stored)
                yield ExpertShare(settings, 0.0, described.recipe.epochs, stored.reference)


def _longest(stored: Sequence[ExpertShare], networks: int, epochs: int) -> ExpertShare | None:
    """Return the pool with most epochs in all, of those that are enough where so many could be trained; or None."""
    enough = [share for share in stored if share.networks >= ENOUGH * networks and share.epochs >= ENOUGH * epochs]
    return max(enough, key=lambda share: share.networks * share.epochs, default=None)


def _too_short(job: Job, networks: int, budget: float, epochs: int, epoch: float) -> UsageError:
    """Return the error for a budget in which the experts cannot be trained.

    Args:
        job, budget: see `share_of_experts`.
        networks: number of experts.
        epochs: of each expert, as they are given; 0 if not even one fits.
        epoch: seconds of an epoch of all experts.
    """
    experts = many(networks, "expert")
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
