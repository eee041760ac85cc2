"""A store as dsactl 0.1 wrote it: sets, an evaluation, finished runs and an unfinished one. Some seconds."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sessions import Told, session

import registry
from dsactl.cli.recipe_to_command import continue_command
from dsactl.recipes.recipe import Request
from dsactl.runs.job import prepare, run_folder
from dsactl.runs.listing import list_runs
from dsactl.runs.run import execute, has_checkpoint, steps_done

SETS = ("digits-random-ipc1", "digits-dd-convnet-depth1-width4-ipc1", "digits-dsa-convnet-depth1-width4-ipc1")
SMALL = {"dataset": "digits", "ipc": 1, "width": 4, "depth": 1, "precision": "float32"}
FINISHED = [
    {"dataset": "digits", "ipc": 1, "method": "random"},
    {**SMALL, "iterations": 2},
    {**SMALL, "precision": "bfloat16", "method": "dd", "iterations": 2, "inner_steps": 2, "step_lr": 0.02},
]
UNFINISHED = {**SMALL, "iterations": 4, "inner_steps": 2, "network_epochs": 1}

Answer = tuple[int, str, str]


@pytest.fixture
def store() -> registry.Store:
    """A copy of it."""
    shutil.copytree(Path(__file__).with_name("store_of_0_1"), registry.default_home())
    return registry.Store()


@pytest.mark.usefixtures("store")
def test_its_sets_are_listed_shown_verified_and_evaluated_again(cli: Callable[..., Answer]) -> None:
    listed = json.loads(cli("ls", "--json")[1])
    assert {each["reference"] for each in listed} == {f"{name}:1" for name in SETS}
    assert [len(each["evaluations"]) for each in listed if each["method"] == "random"] == [1]
    for name in SETS:
        code, out, _ = cli("show", name, "--json")
        assert code == 0
        assert json.loads(out)["manifest"]["recipe"]["dataset"] == "digits"
        code, out, err = cli("evaluate", name, "--networks", "1", "--epochs", "1", "--arch", "mlp", "--json")
        assert code == 0, err
    assert cli("verify")[0] == 0
    assert json.loads(cli("show", "digits-random-ipc1:best", "--json")[1])["reference"] == "digits-random-ipc1:1"


def test_its_runs_are_listed(store: registry.Store) -> None:
    runs = list_runs(store=store)
    assert sorted(run.reference for run in runs if run.reference) == sorted(f"{name}:1" for name in SETS)
    [stopped] = list_runs(unfinished=True, store=store)
    assert (stopped.name, stopped.state, stopped.done, stopped.total) == (SETS[2], "stopped", 3, 8)
    assert {run.state for run in runs} == {"stopped", "finished"}
    code = shlex.split(continue_command(stopped) or "")
    assert code[:5] == ["dsactl", "condense", "digits", "--ipc", "1"]


@pytest.mark.parametrize("asked", FINISHED, ids=lambda asked: asked.get("method", "dsa"))
def test_its_finished_runs_answer_at_once(store: registry.Store, asked: dict[str, object]) -> None:
    assert execute(prepare(Request.parse(asked), "cpu"), session(store)).repeated


def test_a_set_that_no_arithmetic_makes_has_the_bits_of_0_1() -> None:
    """On every machine; `tests/bits.py` compares all methods on one."""
    job = prepare(Request.parse({"dataset": "digits", "ipc": 2, "method": "random"}), "cpu")
    made = execute(job, session()).stored
    assert made.digest == "7c9e4977af057109cc6cb20dcece6d0ead41813b40ca732d521ba0be0ca7cc64"


def test_its_unfinished_run_is_resumed(store: registry.Store) -> None:
    job, told = prepare(Request.parse(UNFINISHED), "cpu"), Told()
    assert has_checkpoint(store, job.recipe)
    assert steps_done(store, job) == 3
    execute(job, session(store, told))
    assert (min(told.seen), max(told.seen)) == (3, 8)
    assert not has_checkpoint(store, job.recipe)
    assert (run_folder(store, job.recipe) / "finished.json").exists()
