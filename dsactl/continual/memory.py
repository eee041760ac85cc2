"""What is kept of a task: a set of a few images per class, made as `condense` makes it and found by its recipe."""

from dataclasses import dataclass

import torch

import registry
from dsactl import jobs, runs
from dsactl.continual.learner import Images
from dsactl.continual.tasks import Task
from dsactl.methods.catalogue import ALGORITHM_1, find
from dsactl.recipe import Request
from dsactl.sitting import Progress
from dsactl.studies.cells import Report
from dsactl.synthetic import SyntheticSet, from_store

NONE = "none"
"""The memory that keeps nothing."""


@dataclass(frozen=True)
class Memory:
    """How memories are made.

    Attributes:
        method: a method of `condense`, or "none".
        ipc: images per class and task.
        iterations: of methods that have some; None for their own.
    """

    method: str
    ipc: int
    iterations: int | None = None

    def request(self, task: Task, seed: int) -> Request:
        """What makes the set of a task."""
        settings = {"iterations": None} if self.method in ALGORITHM_1 else find(self.method).settings
        iterations = self.iterations if "iterations" in settings else None
        return Request(task.source, self.ipc, self.method, iterations=iterations, seed=seed, image_size=task.image_size)

    def job(self, task: Task, seed: int, device: str) -> jobs.Job:
        """The same with its data set.

        Raises:
            dsactl.Error: it cannot be made, as where a class has fewer images.
        """
        return jobs.prepare(self.request(task, seed), device, loaded=task.dataset).within(jobs.CONTINUAL)

    def make(self, job: jobs.Job, store: registry.Store, report: Report) -> SyntheticSet:
        """Make the set, or find it made."""

        def tell(progress: Progress) -> None:
            report(progress.done, progress.total, progress.doing)

        return from_store(store, runs.execute(job, store, report=tell).stored)


def images_of(kept: list[tuple[Task, SyntheticSet]], device: torch.device) -> Images:
    """Sets of tasks, one at least, as images to learn from, with the network's outputs for them."""
    images_NCHW = torch.cat([synthetic.images for _, synthetic in kept]).to(device)
    labels_N = torch.cat([synthetic.labels + task.first for task, synthetic in kept]).to(device)
    origin = tuple(f"{synthetic.digest} at {task.first}" for task, synthetic in kept)
    return Images(images_NCHW.__getitem__, labels_N, origin)


def all_of(task: Task) -> Images:
    """Every training image of a task, whose data set is on the device."""
    real = task.dataset
    origin = f"{real.train.checksum()} at {task.first}, mean {real.mean}, deviation {real.std}"
    return Images(real.at, real.train.labels_N + task.first, (origin,))
