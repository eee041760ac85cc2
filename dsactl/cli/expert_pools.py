"""Pools of experts that commands train, on request or because a set or method needs one."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsactl.cli.options import RunOptions
from dsactl.cli.output import Output
from dsactl.text.formatting import bytes_in_words, many

if TYPE_CHECKING:
    import torch

    import registry
    from dsactl.expert_pools.make import PoolJob, PoolOutcome


def make(
    job: "PoolJob", device: "torch.device", run: RunOptions, output: Output, *, fresh: bool, wait: bool = False
) -> "PoolOutcome":
    """Train a pool with a progress bar, or look it up; arguments as of `expert_pools.make.find_or_make`."""
    from dsactl.engine.on_ray import open_executor
    from dsactl.engine.session import Session
    from dsactl.expert_pools.make import find_or_make

    networks, epochs = job.recipe.networks, job.recipe.epochs
    with (
        contextlib.closing(open_executor(run.ray, run.device, run.gpu_share)) as executor,
        output.progress(many(networks, "expert"), networks * epochs, "epochs") as bar,
    ):
        return find_or_make(job, Session.open(device, executor=executor, progress=bar), fresh=fresh, wait=wait)


def make_missing(
    job: "PoolJob", device: "torch.device", run: RunOptions, output: Output, others: Sequence[str] = ()
) -> "registry.StoredSet":
    """Say that a pool is missing, what training it costs, and that it may be interrupted; then train and store it.

    Args:
        job: of the pool.
        device: where to train.
        run: where tasks run.
        output: prints the notice and the progress.
        others: pools of other settings that the store has, which the command would take by `--experts`, in words.
    """
    from dsactl.engine.device import describe
    from dsactl.expert_pools.estimate import estimate, in_words

    cost, recipe = estimate(job, device), job.recipe
    output.remark(
        f"The store has no fitting pool of experts for {recipe.dataset}. One is trained now: "
        f"{in_words(job, cost.seconds)} on {describe(device)}, {bytes_in_words(cost.memory)} of memory. "
        "It is stored for later commands. Ctrl-C is safe: the same command continues it."
    )
    if others:
        output.remark(f"The store has experts with other settings, which --experts takes: {', '.join(others)}.")
    stored = make(job, device, run, output, fresh=False, wait=True).stored
    output.remark(f"Stored the experts {stored.reference}.")
    return stored
