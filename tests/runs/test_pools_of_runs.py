"""The pool of experts that runs learn from: kept over interruptions, shared in a call, and its errors and progress."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from away import Away
from sessions import Stopping, Told, session

import dsactl
import registry
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Executor, Task
from dsactl.errors import DataError, RunError
from dsactl.expert_pools.pool import ExpertPool
from dsactl.recipes.recipe import Request
from dsactl.runs import experts, run
from dsactl.runs.job import Job, prepare, run_folder
from dsactl.runs.parallel import make_all
from dsactl.runs.run import Outcome, claim, execute
from dsactl.studies.clock import making
from registry.tensors import describe

OPTIONS: dict[str, Any] = {"method": "dance", "width": 8, "precision": "float32", "batch_real": 12, "iterations": 3}
OPTIONS |= {"expert_networks": 1, "expert_epochs": 1, "expert_batch": 512}


def job(**options: Any) -> Job:
    return prepare(Request.parse({"dataset": "digits", "ipc": 1, **OPTIONS, **options}), "cpu")


def coreset() -> Job:
    return prepare(Request("digits", 1, "random"), "cpu")


def pool() -> registry.StoredSet:
    """The pool that the jobs describe, newly made."""
    network = dsactl.NetworkSpec(width=8)
    made = dsactl.experts("digits", networks=1, epochs=1, batch=512, network=network, precision="float32")
    return registry.Store().find(registry.Reference(None, digest=made.digest))


def newer(stored: registry.StoredSet, factor: float) -> registry.StoredSet:
    """A pool of the same recipe and other bits, as it comes from another machine."""
    store = registry.Store()
    tensors = {name: (array * factor).astype(array.dtype) for name, array in store.tensors(stored).items()}
    about = stored.manifest.model_copy(update={"tensors": describe(tensors, registry.EXPERTS)})
    return store.put(stored.name, tensors, about)


def learnt_from(made: object) -> str:
    assert isinstance(made, Outcome), made
    return str(made.stored.manifest.provenance["experts"]).partition("@sha256:")[2]


def test_an_interrupted_run_keeps_its_pool() -> None:
    first = pool()
    whole = execute(job(), session(registry.Store(registry.Store().home / "whole")))
    assert learnt_from(whole) == first.digest
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(progress=Stopping(2)))
    second = newer(first, 0.5)
    resumed = execute(job(), session())
    assert (learnt_from(resumed), resumed.stored.manifest.tensors) == (first.digest, whole.stored.manifest.tensors)
    assert learnt_from(execute(job(seed=1), session())) == second.digest, "a new run takes the newest"
    assert learnt_from(execute(job(), session(), fresh=True)) == second.digest


def test_a_run_by_the_clock_keeps_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "seconds_per_step", lambda job, session: 50.0)
    first = pool()
    for minutes, steps in ((1, 1), (2, 2)):
        made = making.run_until(job(iterations=10), 0, minutes, session())
        assert made is not None
        assert made.pool is not None
        assert (made.steps, made.pool.digest) == (steps, first.digest)
        newer(first, 0.5)


def test_started_over_an_interrupted_run_takes_the_newest_pool() -> None:
    first = pool()
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(progress=Stopping(2)))
    second = newer(first, 0.5)
    ((_, made),) = make_all([job()], session(executor=Away()), fresh=True)
    assert learnt_from(made) == second.digest


def test_a_run_whose_pool_is_gone_is_refused_until_it_is_back() -> None:
    first, store = pool(), registry.Store()
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(progress=Stopping(2)))
    tensors = store.tensors(first)
    newer(first, 0.5)
    store.remove([first.place])
    with pytest.raises(RunError, match="was written with another pool of experts"):
        execute(job(), session())
    store.put(registry.parse_name("back"), tensors, first.manifest)
    assert learnt_from(execute(job(), session())) == first.digest


@pytest.mark.parametrize("note", ["", "[]", '{"digest": 1}'])
def test_a_damaged_note_of_the_pool_is_no_pool(note: str) -> None:
    first = pool()
    with pytest.raises(KeyboardInterrupt):
        execute(job(), session(progress=Stopping(2)))
    (run_folder(registry.Store(), job().recipe) / experts.POOL).write_text(note)
    assert learnt_from(execute(job(), session())) == first.digest


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> registry.StoredSet:
    """A pool; whenever a set is stored, somebody stores a newer pool of the same recipe."""
    first, keep, factors = pool(), run.keep, iter([0.5, 0.25, 0.125])

    def kept(*given: Any) -> Outcome:
        newer(first, next(factors))
        return keep(*given)

    monkeypatch.setattr(run, "keep", kept)
    return first


def test_all_sets_of_a_call_learn_from_the_same_pool(restless: registry.StoredSet) -> None:
    made = dict(make_all([job().with_seed(index) for index in range(3)], session()))
    assert [learnt_from(each) for each in made.values()] == [restless.digest] * 3


def test_all_sets_of_a_command_learn_from_the_same_pool(
    restless: registry.StoredSet, cli: Callable[..., tuple[int, str, str]]
) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    code, out, err = cli("condense", "digits", "--ipc", "1", "--sets", "2", "--ray", "off", "--quiet", *words)
    assert code == 0, err
    store = registry.Store()
    made = [store.find(registry.parse_reference(line)) for line in out.split()]
    assert [restless.digest in str(each.manifest.provenance["experts"]) for each in made] == [True, True]


@pytest.mark.parametrize("executor", [None, Away()], ids=["here", "away"])
def test_experts_that_fail_leave_the_others(executor: Executor | None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, find_or_make = list[object](), experts.find_or_make

    def counted(*given: Any, **how: Any) -> Any:
        calls.append(given)
        return find_or_make(*given, **how)

    monkeypatch.setattr(experts, "find_or_make", counted)
    diverging = job(expert_lr=1e38)
    made = dict(make_all([diverging, coreset(), diverging.with_seed(1)], session(executor=executor)))
    assert isinstance(made[1], Outcome)
    for index in (0, 2):
        found = made[index]
        assert isinstance(found, RunError)
        assert "diverged" in found.message
    assert len(calls) == 1, "they are trained once"


@pytest.mark.parametrize("executor", [None, Away()], ids=["here", "away"])
def test_a_pool_that_was_removed_leaves_the_others(executor: Executor | None) -> None:
    stored = pool()
    named = job(experts=str(stored.name), **dict.fromkeys(("expert_networks", "expert_epochs", "expert_batch")))
    registry.Store().remove([stored.place])
    made = dict(make_all([named, coreset()], session(executor=executor)))
    assert isinstance(made[0], RunError)
    assert stored.digest in made[0].message
    assert isinstance(made[1], Outcome)


def test_no_run_is_held_while_experts_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, find_or_make, free = [coreset(), job()], experts.find_or_make, list[bool]()

    def looked(*given: Any, **how: Any) -> Any:
        for each in jobs:
            with claim(each, registry.Store()):
                free.append(True)
        return find_or_make(*given, **how)

    monkeypatch.setattr(experts, "find_or_make", looked)
    made = dict(make_all(jobs, session(executor=Away())))
    assert free == [True, True]
    assert all(isinstance(each, Outcome) for each in made.values())


def test_tasks_share_one_copy_of_the_pool() -> None:
    seen = list[tuple[Any, Sequence[Task[Any]]]]()

    class Looking(Away):
        def run(self, shared: Any, tasks: Sequence[Task[Any]], progress: Progress) -> Iterator[Any]:
            seen.append((shared, tasks))
            yield from super().run(shared, tasks, progress)

    stored = pool()
    made = dict(make_all([job(), job(seed=1), coreset()], session(executor=Looking())))
    assert [learnt_from(made[index]) for index in (0, 1)] == [stored.digest] * 2
    (((_, pools), tasks),) = seen
    assert list(pools) == [stored.digest]
    assert not any(isinstance(value, ExpertPool) for task in tasks for value in task.arguments)


@pytest.mark.parametrize("executor", [None, Away()], ids=["here", "away"])
def test_the_epochs_of_experts_are_no_steps(executor: Executor | None) -> None:
    told = Told()
    assert len(dict(make_all([job(), job(seed=1)], session(progress=told, executor=executor)))) == 2
    shares = [done / total for done, total, *_ in told.updates]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    trained = [share for share, (_, _, doing, _) in zip(shares, told.updates, strict=True) if "experts: " in doing]
    assert trained
    assert set(trained) == {0}


def test_a_pool_that_cannot_be_read_is_an_error_of_the_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise DataError(f"The pool of {tmp_path.name} does not have its networks.")

    pool()
    monkeypatch.setattr(experts, "pool_from_store", refuse)
    made = dict(make_all([job(), coreset()], session()))
    assert isinstance(made[0], RunError)
    assert "does not have its networks" in made[0].message
    assert isinstance(made[1], Outcome)
