"""The networks of DANCE: those of a pool of experts, and networks between their initial and trained weights."""

from typing import NamedTuple

import torch
from torch import Tensor

from dsactl.expert_pools.pool import ExpertPool
from dsactl.methods.dance.settings import Dance
from dsactl.methods.work import MethodContext
from dsactl.networks.build import Buffers, Parameters, initial_state, structure

State = tuple[Parameters, Buffers]


class Drawn(NamedTuple):
    """The networks of an iteration: parameters and buffers of each.

    Attributes:
        matched: whose features are matched.
        trained: that calibrates; None without a pool.
    """

    matched: State
    trained: State | None


class Networks:
    """Draws the networks of each iteration: from the pool, or new ones.

    Args:
        work: the run, with a pool if the settings need one.

    Raises:
        ValueError: they do, and it has none.
    """

    def __init__(self, work: MethodContext) -> None:
        recipe, real, pool = work.recipe, work.dataset, work.experts
        assert recipe.network is not None
        self._work, self._blend = work, recipe.settings_as(Dance).blend
        self._structure = structure(recipe.network, real.channels, real.size, real.classes)
        self._experts: list[tuple[State, State]] = []
        if recipe.settings_as(Dance).needs_experts:
            if pool is None:
                raise ValueError("the run has no pool of experts")
            first, last = pool.epochs[0], pool.epochs[-1]
            self._experts = [
                (self._load(pool, index, first), self._load(pool, index, last)) for index in range(pool.networks)
            ]

    def __call__(self, k: int) -> Drawn:
        """Draw the networks of iteration k: one expert, and where between its initial and trained weights."""
        if not self._experts:
            return Drawn(self._fresh(k), None)
        index = torch.randint(len(self._experts), (1,), generator=self._work.generator("expert", k))
        initial, trained = self._experts[int(index)]
        if self._blend == "fresh":
            return Drawn(self._fresh(k), _copy(trained))
        share = {"initial": 1.0, "trained": 0.0}.get(self._blend)
        if share is None:
            share = torch.rand(1, generator=self._work.generator("blend", k)).item()
        return Drawn(blend(initial, trained, share), _copy(trained))

    def _fresh(self, k: int) -> State:
        return initial_state(self._structure, self._work.generator("network", k), self._work.device)

    def _load(self, pool: ExpertPool, index: int, epoch: int) -> State:
        parameters, buffers = (
            {name: tensor.to(self._work.device) for name, tensor in part.items()} for part in pool.network(index, epoch)
        )
        return parameters, buffers


def blend(initial: State, trained: State, share: float) -> State:
    """Return λ·initial + (1 − λ)·trained, for parameters and buffers; those of whole numbers are the trained ones.

    Args:
        initial, trained: of one expert.
        share: λ; at 1 and 0 the networks are equal to the initial and the trained one.
    """

    def between(first: Tensor, last: Tensor) -> Tensor:
        return share * first + (1 - share) * last if first.is_floating_point() else last.clone()

    parameters, buffers = (
        {name: between(first, last[name]) for name, first in early.items()}
        for early, last in zip(initial, trained, strict=True)
    )
    return parameters, buffers


def _copy(state: State) -> State:
    """Return a network whose buffers a pass in training mode may change."""
    parameters, buffers = state
    return parameters, {name: each.clone() for name, each in buffers.items()}
