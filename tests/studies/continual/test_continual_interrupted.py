"""Continual learning that is interrupted, damaged, or done by two processes at once: nothing is lost, or made twice."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import processes
import pytest
import torch
from continual_scale import FAST, SMALL, THREE
from filelock import FileLock
from safetensors.torch import load_file
from sessions import Told, session
from torch import Tensor

import registry
from dsactl.engine.progress import Progress
from dsactl.errors import RunError
from dsactl.runs.job import run_folder
from dsactl.runs.run import execute
from dsactl.studies.continual.learner import Phase
from dsactl.studies.continual.memory import NONE, Memory
from dsactl.studies.continual.run import ContinualRun, Runner
from dsactl.studies.continual.tasks import Task, splits_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def three() -> list[Task]:
    return splits_of(THREE, 3, None)


COMMAND = ("continual", *FAST, "--memory", "random", "--distillation", "on", "--json")


def accuracies_in(answer: str) -> list[list[float]]:
    (course,) = json.loads(answer)["courses"]
    return course["accuracies"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """What a study finds that nobody interrupts; some seconds."""
    folder = tmp_path_factory.mktemp("straight")
    done = processes.run(*COMMAND, env={**os.environ, "DSACTL_HOME": str(folder / "home")}, cwd=folder)
    assert done.returncode == 0, done.stderr
    return accuracies_in(done.stdout)


def interrupted(home: Path, how: signal.Signals) -> tuple[int, str] | None:
    """Start the study, and send it a signal when it has learned the first task; None if it was faster than that."""
    process = processes.start(*COMMAND, env={**os.environ, "DSACTL_HOME": str(home)}, cwd=home)
    folder, end = home / "runs" / "continual", time.monotonic() + processes.PATIENCE
    while process.poll() is None and all(".part" in path.name for path in folder.glob("*.safetensors")):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate()
    return (process.returncode, said) if process.returncode else None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_study_goes_on_to_the_same_results(
    straight: list[list[float]], tmp_path: Path, how: signal.Signals
) -> None:
    """With four of its five phases left to learn; some seconds."""
    for attempt in range(3):
        home = tmp_path / str(attempt)
        home.mkdir()
        if stopped := interrupted(home, how):
            break
    assert stopped
    code, said = stopped
    assert code == (130 if how == signal.SIGINT else -how), said
    if how == signal.SIGINT:
        assert "0 of 1 runs are done, and all finished work is kept" in said
    again = processes.run(*COMMAND, env={**os.environ, "DSACTL_HOME": str(home)}, cwd=home)
    assert again.returncode == 0, again.stderr
    assert accuracies_in(again.stdout) == straight


def weights_in(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {path.name: load_file(path) for path in folder.glob("*.safetensors")}


def test_a_run_goes_on_inside_a_phase(three: list[Task]) -> None:
    """Stopped by Ctrl-C within a phase, and with a damaged file of an earlier one."""
    run = ContinualRun(Memory("random", 2), True, 0)
    straight = Runner(three[:2], SMALL, registry.Store(), CPU).run(run, Progress())
    folder = registry.Store().home / "runs" / "continual"
    finished = weights_in(folder)
    assert {path.name for path in folder.iterdir()} == {*finished}, "no lock is left"
    assert len(finished) == 3
    for path in folder.iterdir():
        path.unlink()

    def stop(_done: float, _total: float, doing: str) -> None:
        if "balancing, step 3 of" in doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(three[:2], SMALL, registry.Store(), CPU).run(run, Told(stop))
    parts = [path.name for path in folder.glob("*.part.safetensors")]
    assert len(parts) == 1
    (first, *_) = (path for path in folder.glob("*.safetensors") if path.name not in parts)
    first.write_bytes(first.read_bytes()[:100])
    told = Told()
    again = Runner(three[:2], SMALL, registry.Store(), CPU).run(run, told)
    assert (again.rows, again.references) == (straight.rows, straight.references)
    steps = [doing for _, _, doing, _ in told.updates]
    balancing = [doing for doing in steps if "balancing" in doing]
    assert "step 4 of" in balancing[0], "the three steps were not made again"
    assert "learning, step 1 of" in " ".join(steps), "but what was damaged was"
    ours = weights_in(folder)
    assert ours.keys() == finished.keys()
    for name, tensors in finished.items():
        assert all(torch.equal(ours[name][key], tensor) for key, tensor in tensors.items())


def test_what_diverges_is_tried_once(three: list[Task]) -> None:
    store = registry.Store()
    runner = Runner(three[:2], replace(SMALL, learn=Phase(40, 1e5)), store, CPU)
    told = Told()
    for method in (NONE, "random"):
        with pytest.raises(RunError, match="diverged"):
            runner.run(ContinualRun(Memory(method, 2), False, 0), told)
    assert sum("step 1 of" in doing for _, _, doing, _ in told.updates) == 1
    assert list((store.home / "runs" / "continual").iterdir()) == []


def test_a_set_that_another_process_makes_is_waited_for(three: list[Task]) -> None:
    store, memory = registry.Store(), Memory("random", 2)
    job = memory.job(three[0], 0, "cpu")
    folder = run_folder(store, job.recipe)
    folder.mkdir(parents=True)
    told = Told()
    lock = FileLock(folder / "lock")
    lock.acquire()
    with pytest.raises(RunError, match="Another process is making"):
        execute(job, session())
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(memory.make, job, session(store, told))
        end = time.monotonic() + processes.PATIENCE
        while not told.updates:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not made.done()
        lock.release()
    assert "waiting for another process" in told.updates[0][2]
    assert len(made.result()) == 6


def test_two_processes_make_one_thing_once(tmp_path: Path) -> None:
    """Both at the same runs of one store: each phase is made by one, and the other waits for it."""
    short = ("continual", *FAST, "--steps", "6", "--balance-steps", "3", "--memory", "herding", "--json")
    both = [processes.start(*short, "--out", str(tmp_path / name)) for name in ("one", "two")]
    answers = []
    for process in both:
        answer, said = process.communicate()
        assert process.returncode == 0, said
        answers.append(json.loads(answer)["courses"])
    assert [each["accuracies"] for each in answers[0]] == [each["accuracies"] for each in answers[1]]
    assert [each["seconds"] for each in answers[0]] == [each["seconds"] for each in answers[1]], "made once"
    files = list((registry.Store().home / "runs" / "continual").iterdir())
    assert len(files) == 1 + 2 * 2 * 2
    assert {path.suffix for path in files} == {".safetensors"}
