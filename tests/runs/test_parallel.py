"""Sets as tasks of workers that are elsewhere: without the store's folders, with failures, beside other processes."""

import pickle
import threading
from typing import Any

import pytest
from away import Away
from sessions import Told, session

import dsactl
import registry
from dsactl.errors import RunError, UnknownKeywordError, UnknownNameError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Request
from dsactl.runs.job import Job, prepare, run_folder
from dsactl.runs.parallel import make_all
from dsactl.runs.run import BusyError, Outcome, claim, execute
from dsactl.studies.continual.learner import Phase, Settings
from dsactl.studies.continual.memory import NONE, Memory
from dsactl.studies.continual.prepared import PreparedStudy
from dsactl.studies.continual.run import Outcome as RunOutcome
from dsactl.studies.continual.run_all import run_all
from dsactl.studies.continual.tasks import splits_of


def job(**options: Any) -> Job:
    usual = {"dataset": "digits", "ipc": 1, "iterations": 2, "width": 16}
    return prepare(Request.parse({**usual, **options}), "cpu")


def test_sets_made_elsewhere_are_stored_here() -> None:
    wanted = [job().with_seed(index) for index in range(3)]
    store = registry.Store()
    found = dict(make_all(wanted, session(store, executor=Away())))
    for index, each in enumerate(wanted):
        made = found[index]
        assert isinstance(made, Outcome)
        assert made.stored.manifest.recipe["seed"] == each.recipe.seed
        assert not (run_folder(store, each.recipe) / "checkpoint.safetensors").exists()
    here = {execute(each, session(registry.Store(store.home / "other"))).stored.digest for each in wanted}
    assert {made.stored.digest for made in found.values() if isinstance(made, Outcome)} == here
    nobody = Away()
    again = dict(make_all(wanted, session(store, executor=nobody)))
    assert all(isinstance(made, Outcome) and made.repeated for made in again.values())
    assert nobody.begun == []
    for executor in (Away(), None):
        afresh = dict(make_all(wanted[:2], session(store, executor=executor), fresh=True))
        for index, made in afresh.items():
            assert isinstance(made, Outcome)
            assert not made.repeated
            assert made.stored.reference == again[index].stored.reference
    soft = Request.parse({"dataset": "digits", "ipc": 1, "method": "ld", "iterations": 2})
    ((_, made),) = make_all([prepare(soft, "cpu")], session(store, executor=Away()))
    assert isinstance(made, Outcome)
    assert dsactl.load(made.stored.reference).soft_labels is not None


def test_what_fails_leaves_the_others() -> None:
    wanted = [job(), job(image_lr=1e38, strategy="color", distance="mse"), job(seed=1)]
    found = dict(make_all(wanted, session(executor=Away(2))))
    lost, diverged, made = found[0], found[1], found[2]
    assert isinstance(lost, RunError)
    assert lost.message == "digits-dsa-convnet-width16-ipc1, seed 0 failed: its worker died."
    assert isinstance(diverged, RunError)
    assert "diverged" in diverged.message
    assert isinstance(made, Outcome)
    again = dict(make_all(wanted[:1], session(executor=Away())))
    assert isinstance(again[0], Outcome), "nothing is held any more"


def test_what_another_process_makes_holds_up_nobody() -> None:
    store, first, second, third = registry.Store(), job(), job(seed=1), job(seed=2)
    held, finished, order, waited = threading.Event(), threading.Event(), list[int](), list[bool]()

    def another() -> None:
        with claim(first, store):
            held.set()
            waited.append(finished.wait(60))

    thread = threading.Thread(target=another)
    thread.start()
    held.wait(60)
    refused = dict(make_all([first, second], session(store, executor=Away())))
    assert isinstance(refused[0], BusyError)
    assert isinstance(refused[1], Outcome)
    told = Told()
    for index, made in make_all([first, third], session(store, told, Away()), wait=True):
        order.append(index)
        assert isinstance(made, Outcome)
        finished.set()  # when the other set is there
    thread.join()
    assert order == [1, 0]
    assert waited == [True], "nobody waited for the set that was held before the other was made"
    shares = [done / total for done, total, *_ in told.updates]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_an_error_of_a_worker_is_sent_whole() -> None:
    error = pickle.loads(pickle.dumps(UnknownNameError("method", "dsb", ["dsa", "dc"], "See docs/methods.md")))
    assert (error.message, error.hint) == ("Unknown method 'dsb'.", "Did you mean 'dsa'? See docs/methods.md")
    keyword = pickle.loads(pickle.dumps(UnknownKeywordError("keyword", "epoch", ["epochs"])))
    assert type(keyword) is UnknownKeywordError
    assert keyword.hint == "Did you mean 'epochs'?"


@pytest.mark.parametrize("lost", [(), (1,)])
def test_continual_learning_elsewhere(lost: tuple[int, ...]) -> None:
    """The same as here, where nothing of the store is to be had; what is lost is named."""
    tasks = splits_of("digits@classes0-5", 3, None)
    settings = Settings(NetworkSpec(width=16), ("crop",), Phase(6, 0.02), Phase(4, 0.01))
    study = PreparedStudy(tasks, [Memory(NONE, 2), Memory("random", 2)], (False, True), 1, settings)
    told = Told()
    store, other = registry.Store(), registry.Store(registry.Store().home / "other")
    found = dict(run_all(study, session(store, told, Away(*lost))))
    here = dict(run_all(study, session(other)))
    assert len(found) == len(here) == 4
    failed = [run for run, outcome in found.items() if isinstance(outcome, RunError)]
    # Sets are tasks as well, and the second of those is lost too: with it, every run of that memory.
    assert len(failed) == (0 if not lost else 3)
    for run, outcome in found.items():
        if run not in failed:
            ours = here[run]
            assert isinstance(outcome, RunOutcome)
            assert isinstance(ours, RunOutcome)
            assert outcome.rows == ours.rows
    shares = [done / total for done, total, *_ in told.updates]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert not list(store.home.glob("runs/continual/*")), "they learned in a folder of their own"
