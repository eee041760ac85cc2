"""Estimate of the time and memory of training a pool of experts, from a few steps."""

from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import torch

from dsactl.data.parts import training_split
from dsactl.engine.clock import Clock, upper_quartile
from dsactl.engine.device import prepare_device
from dsactl.engine.memory import keep_freed_memory, peak_memory, release_gpu_memory, reset_peak_memory
from dsactl.engine.random import generator
from dsactl.expert_pools.expert import network_of, new_descent
from dsactl.expert_pools.make import PoolJob
from dsactl.text.formatting import about, many

_STEPS = 3
"""Fewest steps, with the one that warms up."""


class PoolCost(NamedTuple):
    """The estimated cost of a pool.

    Attributes:
        seconds: of training all networks one after the other.
        memory: peak of the process (CPU) or of the device (CUDA) during the trial, bytes.
    """

    seconds: float
    memory: int


def estimate(job: PoolJob, device: torch.device) -> PoolCost:
    """Time a few steps of one network, and scale up; nothing is stored."""
    reset_peak_memory(device)
    spans, steps = _timed(job, device, lambda _: 0.0)
    return PoolCost(min(spans) * steps * job.recipe.epochs * job.recipe.networks, peak_memory(device))


def seconds_per_epoch(job: PoolJob, device: torch.device, allowed: float, plenty: float = 0.0) -> float:
    """Time steps of one network, and return the seconds of an epoch by the upper quartile; nothing is stored.

    Args:
        job: of the pool.
        device: where to train.
        allowed: seconds that timing may take if more than the fewest steps are timed.
        plenty: seconds of an epoch below which it is not worth timing more.
    """
    spans, steps = _timed(job, device, lambda epoch: 0.0 if epoch < plenty else allowed)
    release_gpu_memory(device)
    return upper_quartile(spans) * steps


def _timed(job: PoolJob, device: torch.device, allowed: Callable[[float], float]) -> tuple[list[float], int]:
    """Return the seconds of some steps of a network, without the first, which warms up; and the steps of an epoch.

    Args:
        job, device: see `seconds_per_epoch`.
        allowed: returns how long timing may take, by the seconds of an epoch as the fewest steps have them.
    """
    prepare_device(device)
    if device.type == "cpu":
        keep_freed_memory()
    dataset, recipe = training_split(job.dataset, device), job.recipe
    descent = new_descent(dataset, recipe, 0, network_of(recipe, dataset))
    source, clock = generator(recipe.seed, "expert-trial"), Clock(device)
    batches = descent.shuffled(dataset.train.labels_N, [source])
    following = cycle(batches)
    clock.mark()
    enough = 0.0
    while len(clock.marks) <= _STEPS or clock.marks[-1] - clock.marks[1] < enough:
        descent.step(dataset.at, dataset.train.labels_N, next(following), [source], recipe.lr)
        clock.mark()
        if len(clock.marks) == _STEPS + 1:
            enough = allowed(upper_quartile(clock.spans(1)) * len(batches))
    return clock.spans(1), len(batches)


def in_words(job: PoolJob, seconds: float) -> str:
    """Describe the training of a pool: "5 networks of 60 epochs, about 2 h 00 min one after the other"."""
    recipe = job.recipe
    trained = f"{many(recipe.networks, 'network')} of {many(recipe.epochs, 'epoch')}"
    return f"{trained}, {about(seconds)}{in_turn(job)}"


def in_turn(job: PoolJob) -> str:
    """Return the words that follow the time of training a pool; none for a single network."""
    return " one after the other" if job.recipe.networks > 1 else ""
