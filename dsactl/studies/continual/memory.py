"""Memories of tasks: sets of a few images per class, made like those of `condense` and found by their recipes.

Shapes: N images, C, H, W, K outputs of the network.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dsactl.engine.session import Session
from dsactl.engine.words import Precision
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request
from dsactl.runs.job import CONTINUAL, Job, prepare
from dsactl.runs.run import execute
from dsactl.studies.continual.learner import Images, joined
from dsactl.studies.continual.tasks import Task
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store

NONE = "none"
"""The name for no memory."""


@dataclass(frozen=True)
class Memory:
    """The way to make memories.

    Attributes:
        method: a method of `condense`, or "none".
        ipc: images per class and task.
        iterations: of methods with iterations; None for the method's default.
        precision: "auto", "float32" or "bfloat16".
    """

    method: str
    ipc: int
    iterations: int | None = None
    precision: Precision = "auto"

    @property
    def iterates(self) -> bool:
        """Whether the method has iterations."""
        return self.method != NONE and "iterations" in find(self.method).settings.names()

    def request(self, task: Task, seed: int) -> Request:
        """Return the request for the set of a task."""
        return Request.of(
            task.source,
            self.ipc,
            method=self.method,
            iterations=self.iterations if self.iterates else None,
            seed=seed,
            image_size=task.image_size,
            precision=self.precision,
        )

    def job(self, task: Task, seed: int, device: str) -> Job:
        """Return the job for the set of a task.

        Raises:
            dsactl.Error: it cannot be made, for example since a class has too few images.
        """
        return prepare(self.request(task, seed), device, loaded=task.dataset).within(CONTINUAL)

    def make(self, job: Job, session: Session) -> SyntheticSet:
        """Make the set, look it up, or wait for another process that makes it."""
        return from_store(session.store, execute(job, session, wait=True).stored)


def images_of(kept: list[tuple[Task, SyntheticSet]], outputs: int, device: torch.device) -> Images:
    """Return the images and targets of the sets of one or more tasks.

    Args:
        kept: the sets, each with its task.
        outputs: K of the network, for soft labels.
        device: where they go.
    """
    images_NCHW = torch.cat([_normalised(task, synthetic) for task, synthetic in kept]).to(device)
    targets = joined([_targets(task, synthetic, outputs) for task, synthetic in kept]).to(device)
    origin = tuple(_origin(synthetic.digest, task) for task, synthetic in kept)
    return Images(images_NCHW.__getitem__, targets, origin)


def all_of(task: Task) -> Images:
    """Return all training images of a task, whose dataset is on the device."""
    real = task.dataset
    return Images(real.at, real.train.labels_N + task.first, (_origin(real.train.checksum(), task),))


def _origin(checksum: str, task: Task) -> str:
    return f"{checksum} at {task.first}, mean {task.dataset.mean}, deviation {task.dataset.std}"


def _normalised(task: Task, synthetic: SyntheticSet) -> Tensor:
    """Return the images in the task's normalisation, which may have changed if images were added to other classes."""
    real = task.dataset
    if (synthetic.mean, synthetic.std) == (real.mean, real.std):
        return synthetic.images
    return replace(synthetic, mean=real.mean, std=real.std).normalise(synthetic.pixels())


def _targets(task: Task, synthetic: SyntheticSet, outputs: int) -> Tensor:
    if synthetic.soft_labels is None:
        return synthetic.labels + task.first
    shares_NK = torch.zeros(len(synthetic), outputs)
    shares_NK[:, task.first : task.outputs] = synthetic.soft_labels
    return shares_NK
