"""An executor whose workers are on another machine."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from dsactl.engine.progress import Progress
from dsactl.engine.shared_folder import SharedFolder
from dsactl.engine.tasks import Executor, Failure, Task


class Away(Executor):
    """Executor of another machine: what tasks are given was sent there, and no folder of this machine is there.

    Args:
        lost: the tasks that their machine takes with it, by name or by place in the order in which they begin.
    """

    def __init__(self, *lost: str | int) -> None:
        self.lost, self.begun, self.threads = lost, list[str](), 1

    def run(self, shared: Any, tasks: Sequence[Task[Any]], progress: Progress) -> Iterator[Any]:
        for index, task in enumerate(reversed(tasks)):  # in any order
            self.begun.append(task.name)
            progress.update(index + 1, len(tasks), task.name)
            if index in self.lost or task.name in self.lost:
                yield task, Failure("its worker died")
                continue
            there, work, arguments = pickle.loads(pickle.dumps((shared, task.work, task.arguments)))
            moved = [replace(each, path="/nowhere") if isinstance(each, SharedFolder) else each for each in arguments]
            yield task, pickle.loads(pickle.dumps(work(there, *moved, Progress())))

    def task_device(self, device: torch.device) -> str:
        return str(device)

    def close(self) -> None:
        pass
