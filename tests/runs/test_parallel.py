"""Sets as tasks of workers that are elsewhere: without the store's folders, with failures, beside other processes."""

import pickle
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from dsactl.studies.continual.courses import go_through
from dsactl.studies.continual.study import Study

import dsactl
import registry
from dsactl.engine.shared_folder import SharedFolder
from dsactl.engine.tasks import Executor, Failure, Report, Task
from dsactl.errors import RunError, UnknownKeywordError, UnknownNameError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Request
from dsactl.runs.job import Job, prepare, run_folder
from dsactl.runs.parallel import make_all
from dsactl.runs.run import BusyError, Outcome, claim, execute
from dsactl.studies.continual.learner import Phase, Settings
from dsactl.studies.continual.memory import NONE, Memory
from dsactl.studies.continual.run import Outcome as CourseOutcome
from dsactl.studies.continual.tasks import splits_of

CPU = torch.device("cpu")


class Away(Executor):
    """Executor of another machine: what they are given was sent there, and no folder of this machine is there.

    Args:
        lost: the tasks that their machine takes with it.
    """

    def __init__(self, *lost: int) -> None:
        self.lost, self.begun, self.threads = lost, list[str](), 1

    def run(self, shared: Any, tasks: Sequence[Task[Any]], report: Report = lambda share, doing: None) -> Iterator[Any]:
        for index, task in enumerate(reversed(tasks)):  # in any order
            self.begun.append(task.name)
            report((index + 1) / len(tasks), task.name)
            if index in self.lost:
                yield task, Failure("its worker died")
                continue
            there, work, arguments = pickle.loads(pickle.dumps((shared, task.work, task.arguments)))
            moved = [replace(each, path="/nowhere") if isinstance(each, SharedFolder) else each for each in arguments]
            yield task, pickle.loads(pickle.dumps(work(there, *moved, lambda share: None)))

    def place(self, device: torch.device) -> str:
        return str(device)

    def close(self) -> None:
        pass


def job(**options: Any) -> Job:
    usual = {"dataset": "digits", "ipc": 1, "iterations": 2, "width": 16}
    return prepare(Request.parse({**usual, **options}), "cpu")


def test_sets_made_elsewhere_are_stored_here() -> None:
    wanted = [job().with_seed(index) for index in range(3)]
    store = registry.Store()
    found = dict(make_all(wanted, store, Away()))
    for index, each in enumerate(wanted):
        made = found[index]
        assert isinstance(made, Outcome)
        assert made.stored.manifest.recipe["seed"] == each.recipe.seed
        assert not (run_folder(store, each.recipe) / "checkpoint.safetensors").exists()
    here = {execute(each, registry.Store(store.home / "other")).stored.digest for each in wanted}
    assert {made.stored.digest for made in found.values() if isinstance(made, Outcome)} == here
    nobody = Away()
    again = dict(make_all(wanted, store, nobody))
    assert all(isinstance(made, Outcome) and made.repeated for made in again.values())
    assert nobody.begun == []
    for workers in (Away(), None):
        afresh = dict(make_all(wanted[:2], store, workers, fresh=True))
        for index, made in afresh.items():
            assert isinstance(made, Outcome)
            assert not made.repeated
            assert made.stored.reference == again[index].stored.reference
    soft = Request.parse({"dataset": "digits", "ipc": 1, "method": "ld", "iterations": 2})
    ((_, made),) = make_all([prepare(soft, "cpu")], store, Away())
    assert isinstance(made, Outcome)
    assert dsactl.load(made.stored.reference).soft_labels is not None


def test_what_fails_leaves_the_others() -> None:
    wanted = [job(), job(image_lr=1e38, strategy="color", distance="mse"), job(seed=1)]
    found = dict(make_all(wanted, registry.Store(), Away(2)))
    lost, diverged, made = found[0], found[1], found[2]
    assert isinstance(lost, RunError)
    assert lost.message == "digits-dsa-convnet-width16-ipc1, seed 0 failed: its worker died."
    assert isinstance(diverged, RunError)
    assert "diverged" in diverged.message
    assert isinstance(made, Outcome)
    again = dict(make_all(wanted[:1], registry.Store(), Away()))
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
    refused = dict(make_all([first, second], store, Away()))
    assert isinstance(refused[0], BusyError)
    assert isinstance(refused[1], Outcome)
    told: list[float] = []
    for index, made in make_all([first, third], store, Away(), lambda share, _doing: told.append(share), wait=True):
        order.append(index)
        assert isinstance(made, Outcome)
        finished.set()  # when the other set is there
    thread.join()
    assert order == [1, 0]
    assert waited == [True], "nobody waited for the set that was held before the other was made"
    assert told == sorted(told)
    assert told[-1] == 1


def test_an_error_of_a_worker_is_sent_whole() -> None:
    error = pickle.loads(pickle.dumps(UnknownNameError("method", "dsb", ["dsa", "dc"], "See docs/methods.md")))
    assert (error.message, error.hint) == ("Unknown method 'dsb'.", "Did you mean 'dsa'? See docs/methods.md")
    keyword = pickle.loads(pickle.dumps(UnknownKeywordError("keyword", "epoch", ["epochs"])))
    assert type(keyword) is UnknownKeywordError
    assert keyword.hint == "Did you mean 'epochs'?"


@pytest.mark.parametrize("lost", [(), (1,)])
def test_courses_elsewhere(lost: tuple[int, ...]) -> None:
    """The same as here, where nothing of the store is to be had; what is lost is named."""
    tasks = splits_of("digits@classes0-5", 3, None)
    settings = Settings(NetworkSpec(width=16), ("crop",), Phase(6, 0.02), Phase(4, 0.01))
    study = Study(tasks, [Memory(NONE, 2), Memory("random", 2)], (False, True), 1, settings)
    told: list[float] = []
    store, other = registry.Store(), registry.Store(registry.Store().home / "other")
    found = dict(go_through(study, store, CPU, Away(*lost), lambda share, _doing: told.append(share)))
    here = dict(go_through(study, other, CPU))
    assert len(found) == len(here) == 4
    failed = [course for course, outcome in found.items() if isinstance(outcome, RunError)]
    # Sets are tasks as well, and the second of those is lost too: with it, every course of that memory.
    assert len(failed) == (0 if not lost else 3)
    for course, outcome in found.items():
        if course not in failed:
            ours = here[course]
            assert isinstance(outcome, CourseOutcome)
            assert isinstance(ours, CourseOutcome)
            assert outcome.rows == ours.rows
    assert told == sorted(told)
    assert told[-1] == 1
    assert not list(store.home.glob("runs/continual/*")), "they learned in a folder of their own"
