"""A session: where results go, where and by what they are computed, and what the progress is reported to."""

from dataclasses import dataclass, field, replace

import torch

import registry
from dsactl.engine.device import resolve_device
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Executor, LocalExecutor
from dsactl.errors import UsageError


def opened(store: registry.Store | None) -> registry.Store:
    """Return a store that the user gives; None is the default one.

    Raises:
        UsageError: it is no store.
    """
    if not isinstance(store, registry.Store | None):
        raise UsageError(f"`store` must be a registry.Store, not {store!r}.", "For a folder: registry.Store(FOLDER)")
    return store or registry.Store()


@dataclass(frozen=True)
class Session:
    """The environment of long work, handed down from the caller.

    Attributes:
        store: for sets, results and checkpoints.
        device: where to compute.
        executor: for work that consists of independent tasks.
        progress: the meter.
    """

    store: registry.Store
    device: torch.device
    executor: Executor = field(default_factory=LocalExecutor)
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def open(
        cls,
        device: str | torch.device = "auto",
        store: registry.Store | None = None,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> "Session":
        """Return a session.

        Args:
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            store: None for the default store.
            executor: None for this process.
            progress: None for no meter.

        Raises:
            DeviceError: the device is not available.
            UsageError: the store, executor or progress is of another type.
        """
        if not isinstance(executor, Executor | None):
            raise UsageError(
                f"`executor` must be an Executor, not {executor!r}.", "Get one from `dsactl.open_executor`."
            )
        if not isinstance(progress, Progress | None):
            raise UsageError(f"`progress` must be a Progress, not {progress!r}.", "Give an instance of a subclass.")
        target = resolve_device(str(device))
        return cls(opened(store), target, executor or LocalExecutor(), progress or Progress())

    def part(self, before: float, size: float, total: float, label: str = "") -> "Session":
        """Return the session of a part of the work; see `Progress.part`."""
        return replace(self, progress=self.progress.part(before, size, total, label))
