"""Pools of experts: trained, and found again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from sessions import Told, session
from small_pools import SMALL, TINY, few_digits, job
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

import dsactl
import registry
from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.engine.random import generator
from dsactl.errors import DataError, NetworkError, RunError, UnknownKeywordError, UsageError
from dsactl.expert_pools import make
from dsactl.expert_pools.make import PoolOutcome, find_or_make, find_pool, pool_folder
from dsactl.expert_pools.pool import load_experts, pool_from_store
from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest, parse_keep
from dsactl.networks.build import initial_state, structure
from registry.upkeep import verify


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


def no_training(*arguments: object) -> None:
    raise AssertionError(f"a network is trained: {arguments}")


def test_two_runs_give_the_same_pool_and_other_seeds_others(digits: Dataset, tmp_path: Path) -> None:
    stores = [registry.Store(tmp_path / name) for name in ("a", "b", "c")]
    seeds = (0, 0, 1)
    made = [
        find_or_make(job(digits, seed=seed), session(store)).stored for store, seed in zip(stores, seeds, strict=True)
    ]
    assert made[0].digest == made[1].digest != made[2].digest
    pool = load_experts("digits-experts-convnet-width16", stores[0])
    assert (pool.reference, pool.digest, pool.networks, pool.epochs) == (made[0].reference, made[0].digest, 2, (0, 2))
    weights = [pool.network(index, epoch)[0]["classifier.weight"] for index in (0, 1) for epoch in (0, 2)]
    assert len({tuple(each.flatten().tolist()) for each in weights}) == 4
    assert pool.spec == TINY.resolve(1, (8, 8))
    assert not verify(stores[0]).faults
    assert not list(pool_folder(stores[0], pool.recipe).glob("network-*"))


def test_a_network_depends_neither_on_how_many_there_are_nor_on_what_is_kept(digits: Dataset) -> None:
    store = registry.Store()
    pools = [
        pool_from_store(store, find_or_make(job(digits, **more), session(store)).stored)
        for more in ({"networks": 2}, {"networks": 3, "keep": (1, 2)})
    ]
    for index in (0, 1):
        first, second = (pool.network(index, 2)[0] for pool in pools)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_pool_that_keeps_more_epochs_will_do(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    store = registry.Store()
    more = find_or_make(job(digits, epochs=3, keep=(0, 1, 3)), session(store)).stored
    for keep in ((0, 1), (1, 3), (0, 2, 3)):
        assert find_pool(store, job(digits, epochs=3, keep=keep)) is None, "other first or last epochs, or one missing"
    assert find_pool(store, job(digits, epochs=2)) is None, "the schedule of its training is another"
    monkeypatch.setattr(make, "_train", no_training)
    assert find_or_make(job(digits, epochs=3), session(store)) == PoolOutcome(more, repeated=True)
    monkeypatch.undo()
    alone = find_or_make(job(digits, epochs=3), session(store), fresh=True).stored
    assert find_pool(store, job(digits, epochs=3)) == alone, "the one that keeps these epochs alone comes first"
    assert find_pool(store, job(digits, epochs=3, keep=(0, 1, 3))) == more
    pools = [pool_from_store(store, stored) for stored in (more, alone)]
    for epoch in (0, 3):
        first, second = (pool.network(0, epoch)[0] for pool in pools)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stored_pool_is_found_by_its_recipe(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    store = registry.Store()
    first = find_or_make(job(digits), session(store))
    find_or_make(job(digits, keep=(0, 1, 2)), session(store))
    monkeypatch.setattr(make, "_train", no_training)
    assert find_or_make(job(digits), session(store)) == PoolOutcome(first.stored, repeated=True)
    assert find_pool(store, job(digits, keep=(0, 1, 2))).version == 2
    for other in ({"seed": 1}, {"epochs": 3}, {"cutmix": 0.0}, {"precision": "bfloat16"}, {"networks": 1}):
        assert find_pool(store, job(digits, **other)) is None
    assert find_pool(store, job(replace(digits, mean=(0.25,)))) is None, "its images are normalised otherwise"
    assert find_pool(store, job(digits, precision="auto")) == first.stored, "automatic precision takes any"
    # A pool that came from elsewhere under its own name is found too, and one that is asked for by name has it.
    elsewhere = registry.Store(store.home.parent / "elsewhere")
    elsewhere.put(registry.parse_name("user/pool"), store.tensors(first.stored), first.stored.manifest)
    assert find_or_make(job(digits), session(elsewhere)).stored.reference == "user/pool:1"
    assert find_or_make(job(digits, "mine"), session(elsewhere)).stored.reference == "mine:1"


def test_a_damaged_pool_is_made_again(digits: Dataset) -> None:
    store = registry.Store()
    first = find_or_make(job(digits), session(store)).stored
    data = bytearray(first.file.read_bytes())
    data[-1] ^= 1
    first.file.write_bytes(data)
    again = find_or_make(job(digits), session(store))
    assert (again.stored.reference, again.stored.digest, again.repeated) == (first.reference, first.digest, False)
    assert not verify(store).faults


class Untouchable:
    """A test split that must not be read."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the test split is read: {name}")


def test_the_test_split_is_never_read(digits: Dataset) -> None:
    hidden = replace(digits, test=Untouchable())
    made = find_or_make(job(hidden), session())
    store = registry.Store()
    assert made.stored.digest == find_or_make(job(digits), session(store), fresh=True).stored.digest
    pool_from_store(store, made.stored).check_fits(hidden)


def test_an_epoch_of_one_batch_is_a_step_of_sgd(digits: Dataset) -> None:
    """Computed here by torch's own layers and optimiser, from the initial weights of the pool."""
    own = job(digits, epochs=1, networks=1, batch=1000, strategy="none", cutmix=0.0, lr=0.1)
    made = find_or_make(own, session())
    pool = pool_from_store(registry.Store(), made.stored)
    network = structure(pool.spec, 1, (8, 8), 10)
    initial, _ = initial_state(network, generator(0, "expert-network", 0))
    before, _ = pool.network(0, 0)
    assert before.keys() == initial.keys()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in before.items()}
    images_NCHW = digits.normalise(digits.train.images_NCHW)
    F.cross_entropy(functional_call(network, leaves, (images_NCHW,)), digits.train.labels_N).backward()
    torch.optim.SGD(leaves.values(), lr=0.1, momentum=0.9, weight_decay=5e-4).step()
    after, buffers = pool.network(0, 1)
    assert buffers == {}
    for name, tensor in after.items():
        assert torch.equal(before[name], initial[name])
        torch.testing.assert_close(tensor, leaves[name].detach(), rtol=1e-4, atol=1e-6)
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])


def test_a_network_with_batch_norm_keeps_its_statistics(digits: Dataset) -> None:
    made = find_or_make(job(digits, network=dsactl.NetworkSpec(width=8, norm="batch"), networks=1), session())
    pool = pool_from_store(registry.Store(), made.stored)
    (_, before), (parameters, after) = pool.network(0, 0), pool.network(0, 2)
    assert not any(name in parameters for name in after)
    counters = [name for name in after if name.endswith("num_batches_tracked")]
    assert counters
    assert all((before[name].item(), after[name].item()) == (0, 2 * 3) for name in counters)
    assert all(after[name].shape == () for name in counters)


def test_the_loss_is_recorded_and_falls(digits: Dataset) -> None:
    own = job(digits, strategy="none", cutmix=0.0, epochs=12, networks=1, batch=16)
    stored = find_or_make(own, session()).stored
    (last,) = stored.manifest.provenance["training loss"]
    assert last < 1.0


def test_numbers_that_diverge_are_said(digits: Dataset) -> None:
    with pytest.raises(RunError, match="Network 0 diverged in epoch") as error:
        find_or_make(job(digits, lr=1e38), session())
    assert "smaller `lr`" in error.value.hint


def test_another_process_that_makes_the_pool_is_waited_for_or_said(digits: Dataset) -> None:
    store, own = registry.Store(), job(digits)
    folder = pool_folder(store, own.recipe)
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"), pytest.raises(RunError, match="Another process is training these experts"):
        find_or_make(own, session(store))
    lock = FileLock(folder / "lock", thread_local=False)
    lock.acquire()
    told = Told(lambda done, total, doing: lock.release() if "waiting" in doing else None)
    assert find_or_make(own, session(store, told), wait=True).stored.version == 1
    assert "waiting for another process" in told.updates[0][2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": (0, 3)}, "`keep` names epoch 3; there are 2"),
        ({"keep": ()}, "`keep` names no epoch"),
        ({"networks": 0}, "`networks`: input should be greater"),
        ({"lr": 0.0}, "`lr`: input should be greater"),
        ({"cutmix": 1.5}, "`cutmix`: input should be less"),
        ({"networks": "many"}, "`networks`: input should be a valid integer"),
        ({"networks": 151}, "a pool has at most 3,000"),
    ],
)
def test_bad_values_are_refused_before_any_work(digits: Dataset, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        job(digits, **options)


def test_bad_names_and_images_are_refused(digits: Dataset) -> None:
    with pytest.raises(UnknownKeywordError, match="'netwroks'") as error:
        dsactl.experts("digits", netwroks=3)
    assert "networks" in error.value.hint
    with pytest.raises(NetworkError, match="cannot take"):
        job(digits, network=dsactl.NetworkSpec(depth=9))
    with pytest.raises(DataError, match="at least two"):
        job(replace(digits, class_names=("only",)))
    with pytest.raises(registry.BadNameError, match="reserved"):
        dsactl.experts("digits", name="bundled/x")
    with pytest.raises(UsageError, match="'1,x'"):
        parse_keep("1,x")


def test_a_name_of_sets_is_refused_before_any_work(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dsactl.condense("digits", ipc=1, method="random", name="taken")
    monkeypatch.setattr(make, "_train", no_training)
    with pytest.raises(registry.ConflictError, match="taken is the name of a set"):
        find_or_make(job(digits, "taken"), session())


def test_what_a_pool_does_not_have_is_said(digits: Dataset) -> None:
    store = registry.Store()
    made = find_or_make(job(digits), session(store))
    pool = pool_from_store(store, made.stored)
    for index in (2, -1):
        with pytest.raises(UsageError, match=f"has no network {index}"):
            pool.network(index, 0)
    with pytest.raises(UsageError, match="has no epoch 1") as error:
        pool.network(0, 1)
    assert "0, 2" in error.value.hint
    pool.check_fits(digits)
    larger = load_dataset("digits@1x16x16")
    with pytest.raises(DataError, match="is for images of 1×8×8, not 1×16×16"):
        pool.check_fits(larger)
    with pytest.raises(DataError, match="was trained on other images"):
        pool.check_fits(load_dataset("digits"))
    condensed = dsactl.condense("digits", ipc=1, method="random")
    with pytest.raises(registry.KindError, match="is a set, not a pool of experts"):
        load_experts(condensed.reference, store)
    with pytest.raises(registry.KindError, match="is a pool of experts, not a set"):
        dsactl.load(pool.reference)
    with pytest.raises(registry.NotFoundError):
        load_experts("nothing", store)


def test_a_pool_whose_recipe_does_not_fit_is_refused(digits: Dataset) -> None:
    store = registry.Store()
    stored = find_or_make(job(digits), session(store)).stored
    for change in (
        {"network": {"arch": "mlp"}},
        {"networks": 3},
        {"keep": [0, 1]},
        {"unknown": 1},
        {"strategy": ["x"]},
    ):
        manifest = stored.manifest.model_copy(update={"recipe": {**stored.manifest.recipe, **change}})
        other = store.put(registry.parse_name("other"), store.tensors(stored), manifest)
        with pytest.raises(DataError):
            pool_from_store(store, other)


def test_recipes_survive_and_keep_their_digests() -> None:
    recipe = PoolRequest().resolve("cifar10", "0" * 64, (3, 32, 32), "float32")
    assert PoolRecipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.digest() == "708851e46f749a35f342904b930331f2c91da8439dc29fe6aa1473885e929c4e"
    assert recipe.pool_name == "cifar10-experts-convnet"
    rates = [recipe.schedule.rate(recipe.lr, epoch) for epoch in (0, 39, 40, 49, 50, 59)]
    assert rates == pytest.approx([0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004])
    assert not any(recipe.schedule.resets(epoch) for epoch in range(60))


def test_the_names_of_the_package() -> None:
    pool = dsactl.experts("digits", **{**SMALL, "networks": 1, "epochs": 1}, name="lab/pool")
    assert isinstance(pool, dsactl.ExpertPool)
    assert repr(pool) == f"ExpertPool(lab/pool:1, 1 network, epochs 0, 1, @sha256:{pool.digest[:12]})"
    assert dsactl.load_experts("lab/pool").digest == pool.digest
    parameters, _ = pool.network(0, 1)
    assert all(isinstance(tensor, Tensor) for tensor in parameters.values())
