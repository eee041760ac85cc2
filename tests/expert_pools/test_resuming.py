"""Pools of experts that are interrupted: what is kept, and that they continue to the same bits."""

from pathlib import Path
from typing import Any

import pytest
from sessions import Told, session
from small_pools import few_digits, job

import registry
from dsactl.data.dataset import Dataset
from dsactl.errors import RunError
from dsactl.expert_pools import expert
from dsactl.expert_pools.make import find_or_make


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


def stopped_at(done: float) -> Told:
    """A meter that stands for Ctrl-C once so many epochs are done."""

    def stop(now: float, total: float, doing: str) -> None:
        del total, doing
        if now >= done:
            raise KeyboardInterrupt

    return Told(stop)


@pytest.mark.parametrize(("done", "said"), [
    (1, "0 of 2 networks are finished, network 0 is kept after epoch 1 of 2."),
    (3, "1 of 2 networks are finished, network 1 is kept after epoch 1 of 2."),
])  # fmt: skip
def test_an_interrupted_pool_is_resumed_to_the_same_bits(
    digits: Dataset, tmp_path: Path, done: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = find_or_make(job(digits, keep=(0, 1, 2)), session(registry.Store(tmp_path / "straight"))).stored
    store = registry.Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt) as interrupt:
        find_or_make(job(digits, keep=(0, 1, 2)), session(store, stopped_at(done)))
    (note,) = interrupt.value.__notes__
    assert said in note
    assert "Run the same again to continue" in note
    assert store.pools() == []
    epochs = list[int]()
    train = expert._epoch
    monkeypatch.setattr(expert, "_epoch", lambda *given: [epochs.append(given[2].epoch), train(*given)][1])
    told = Told()
    again = find_or_make(job(digits, keep=(0, 1, 2)), session(store, told)).stored
    assert again.digest == straight.digest
    assert again.manifest.tensors == straight.manifest.tensors
    assert len(epochs) == 4 - done
    assert told.updates[-1][:2] == (4, 4)
    assert min(each[0] for each in told.updates) == done


@pytest.mark.parametrize("within", ["an epoch", "copying what is kept", "copying what is needed to continue"])
def test_an_interruption_at_any_moment_leaves_whole_epochs(
    digits: Dataset, tmp_path: Path, within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second and last epoch, or right after it: the checkpoint is that after the first."""
    batches = list[int]()
    one: dict[str, Any] = {"networks": 1, "keep": (0, 1, 2)}
    straight = find_or_make(job(digits, **one), session(registry.Store(tmp_path / "straight"))).stored
    train, store = expert.SgdTraining.epoch, registry.Store(tmp_path / "store")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def stop_later(*_: object) -> None:
        batches.append(1)
        if len(batches) == 2:
            raise KeyboardInterrupt

    def then_stopped(self: expert.SgdTraining, *given: Any) -> None:
        if within == "an epoch":
            train(self, *given[:-1], stop_later)
        train(self, *given)
        if within == "copying what is kept":
            monkeypatch.setattr(expert, "unstack", stop)
        else:
            monkeypatch.setattr(expert.SgdTraining, "tensors", stop)

    def in_the_second(self: expert.SgdTraining, *given: Any) -> None:
        train(self, *given)
        monkeypatch.setattr(expert.SgdTraining, "epoch", then_stopped)

    monkeypatch.setattr(expert.SgdTraining, "epoch", in_the_second)
    with pytest.raises(KeyboardInterrupt):
        find_or_make(job(digits, **one), session(store))
    monkeypatch.undo()
    (path,) = store.home.rglob("network-*.safetensors")
    left = expert.Expert.read(path, 0, one["keep"])
    assert (left.epoch, len(left.losses)) == (1, 1)
    assert {name.split(".")[1] for name in left.states} == {"0", "1"}
    assert find_or_make(job(digits, **one), session(store)).stored.digest == straight.digest


def test_interrupted_before_the_first_epoch_nothing_is_kept(digits: Dataset) -> None:
    store = registry.Store()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        find_or_make(job(digits), session(store, stopped_at(0)))
    assert "before the first epoch" in interrupt.value.__notes__[0]
    assert not list(store.home.rglob("network-*.safetensors"))


def test_a_fresh_pool_ignores_what_is_kept(digits: Dataset) -> None:
    store = registry.Store()
    with pytest.raises(KeyboardInterrupt):
        find_or_make(job(digits), session(store, stopped_at(3)))
    told = Told()
    made = find_or_make(job(digits), session(store, told), fresh=True)
    assert told.updates[0][0] == 0
    again = find_or_make(job(digits), session(store), fresh=True)
    assert (again.stored, again.repeated) == (made.stored, False)


def test_a_checkpoint_that_cannot_be_resumed_is_refused(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    store = registry.Store()
    with pytest.raises(KeyboardInterrupt):
        find_or_make(job(digits), session(store, stopped_at(1)))
    (path,) = store.home.rglob("network-*.safetensors")
    native = expert.Expert.read(path, 0, ()).mode.native
    monkeypatch.setattr(expert, "library", lambda: None if native else object())
    monkeypatch.setattr("dsactl.engine.native.library", lambda: None if native else object())
    with pytest.raises(RunError, match="cannot be resumed bit-exactly"):
        find_or_make(job(digits), session(store))
    left = expert.Expert.read(path, 0, ())
    left.states = {name: tensor for name, tensor in left.states.items() if not name.startswith("0.0.")}
    left.save(path.parent)
    with pytest.raises(RunError, match=r"is damaged .*no state after epoch 0"):
        find_or_make(job(digits), session(store))
    path.write_bytes(b"nothing")
    with pytest.raises(RunError, match="is damaged"):
        find_or_make(job(digits), session(store))
