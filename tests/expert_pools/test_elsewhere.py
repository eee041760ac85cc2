"""Experts as tasks of workers that are elsewhere: without the store's folder, and lost with their machine."""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from sessions import session

import dsactl
import registry
from dsactl.data.load import load_dataset
from dsactl.engine.progress import Progress
from dsactl.engine.shared_folder import SharedFolder
from dsactl.engine.tasks import Executor, Failure, Task
from dsactl.errors import RunError
from dsactl.expert_pools.make import PoolJob, find_or_make, pool_folder, prepare
from dsactl.expert_pools.recipe import PoolRequest


class Away(Executor):
    """Executor of another machine: what tasks are given was sent there, and no folder of this machine is there.

    Args:
        lost: the names of the tasks that their machine takes with it.
    """

    def __init__(self, *lost: str) -> None:
        self.lost, self.begun = lost, list[str]()

    def run(self, shared: Any, tasks: Sequence[Task[Any]], progress: Progress) -> Iterator[Any]:
        del progress
        for task in reversed(tasks):  # in any order
            self.begun.append(task.name)
            if task.name in self.lost:
                yield task, Failure("its worker died")
                continue
            there, work, arguments = pickle.loads(pickle.dumps((shared, task.work, task.arguments)))
            moved = [replace(each, path="/nowhere") if isinstance(each, SharedFolder) else each for each in arguments]
            yield task, pickle.loads(pickle.dumps(work(there, *moved, Progress())))

    def task_device(self, device: torch.device) -> str:
        return str(device)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def job() -> PoolJob:
    tiny = dsactl.NetworkSpec(width=8)
    request = PoolRequest(network=tiny, networks=3, epochs=1, batch=512, precision="float32")
    return prepare(request, load_dataset("digits"), torch.device("cpu"))


def test_workers_make_the_same_pool(job: PoolJob) -> None:
    here = find_or_make(job, session()).stored
    store = registry.Store(registry.default_home().parent / "other")
    there = find_or_make(job, session(store, executor=Away())).stored
    assert there.digest == here.digest


def test_networks_of_a_lost_worker_are_trained_again_and_no_others(job: PoolJob) -> None:
    with pytest.raises(RunError, match=r"^network 1 failed: its worker died\. Run the same again"):
        find_or_make(job, session(executor=Away("network 1")))
    store = registry.Store()
    assert store.pools() == []
    assert len(list(pool_folder(store, job.recipe).glob("network-*.safetensors"))) == 2
    again = Away()
    find_or_make(job, session(executor=again))
    assert again.begun == ["network 1"]
    assert len(store.pools()) == 1
