"""Experts as tasks of workers that are elsewhere: without the store's folder, and lost with their machine."""

import pytest
import torch
from away import Away
from sessions import session

import dsactl
import registry
from dsactl.data.load import load_dataset
from dsactl.errors import RunError
from dsactl.expert_pools.make import PoolJob, find_or_make, pool_folder, prepare
from dsactl.expert_pools.recipe import PoolRequest


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
