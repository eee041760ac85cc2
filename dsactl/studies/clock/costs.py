"""The cost of the study, and that of the pools of experts which it needs first."""

from collections.abc import Sequence
from dataclasses import dataclass

import registry
from dsactl.engine.session import Session
from dsactl.evaluation.protocol import Protocol
from dsactl.expert_pools.estimate import estimate as estimate_pool
from dsactl.expert_pools.estimate import in_words
from dsactl.expert_pools.make import PoolJob
from dsactl.runs.experts import missing_pool
from dsactl.studies.clock.curves import steps_at, times
from dsactl.studies.clock.making import Prepared, known_seconds, seconds_done
from dsactl.studies.costs import Trials
from dsactl.studies.entries import Entry


@dataclass(frozen=True)
class ClockCost:
    """The estimated cost of the study, in seconds.

    Attributes:
        points: number of sets to evaluate, including those with stored results.
        networks: number of networks to train and test, including those with stored results.
        pools: training the pools of experts that are missing.
        making: making the sets, without what runs have done already.
        testing: training and testing the networks.
    """

    points: int
    networks: int
    pools: float
    making: float
    testing: float

    @property
    def total(self) -> float:
        """All together."""
        return self.pools + self.making + self.testing


def estimate(prepared: Sequence[Prepared], sets: int, minutes: int, protocol: Protocol, session: Session) -> ClockCost:
    """Estimate the cost from a few steps of each kind of work; nothing is stored.

    Args:
        prepared: the curves.
        sets: number of sets of each.
        minutes: the longest time of a run.
        protocol: of the evaluation.
        session: has the store with the runs so far. Its meter counts curves.
    """
    trials = Trials(session)
    points, making, testing = 0, 0.0, 0.0
    for index, each in enumerate(prepared):
        curve, job = each.curve, each.job
        session.progress.update(index, len(prepared), curve.name)
        whole, each_set = trials.making(job) or 0.0, 1
        if curve.is_running:
            step = known_seconds(session.store, job) or whole / job.recipe.steps
            stops = [time for time in times(minutes) if steps_at(time, step, job.recipe.steps)]
            each_set = len(stops)
            whole = step * steps_at(stops[-1], step, job.recipe.steps) if stops else 0.0
        making += sum(max(0.0, whole - seconds_done(session.store, job.with_seed(number))) for number in range(sets))
        points += sets * each_set
        testing += sets * each_set * protocol.networks * trials.testing(job, Entry((), curve.request, protocol))
    pools = sum(estimate_pool(pool, session.device).seconds for pool in missing_pools(prepared, session.store))
    return ClockCost(points, points * protocol.networks, pools, making, testing)


def missing_pools(prepared: Sequence[Prepared], store: registry.Store) -> list[PoolJob]:
    """Return the jobs of the pools that would have to be trained, each once."""
    wanted = [missing_pool(each.teacher, store) for each in prepared if each.teacher is not None]
    return list({pool.recipe.digest(): pool for pool in wanted if pool is not None}.values())


def late(prepared: Sequence[Prepared], store: registry.Store) -> set[str]:
    """Return the names of the curves whose experts are missing."""
    return {
        each.curve.name
        for each in prepared
        if each.teacher is not None and missing_pool(each.teacher, store) is not None
    }


def announce_pools(prepared: Sequence[Prepared], session: Session) -> None:
    """Remark on each pool of experts that will be trained, and how long that takes."""
    for pool in missing_pools(prepared, session.store):
        seconds = estimate_pool(pool, session.device).seconds
        session.progress.remark(
            f"The store has no pool of experts for {pool.recipe.dataset} that fits. One will be trained and stored: "
            f"{in_words(pool, seconds)}."
        )
