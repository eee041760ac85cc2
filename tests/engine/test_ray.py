"""Tasks on Ray, with real workers that are really killed: results arrive, or their failure is reported."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import processes
import pytest
import torch
from ray_workers import ALIKE, cluster, working
from sessions import Told

import dsactl
from dsactl.engine.cores import usable_cores
from dsactl.engine.on_ray import RayExecutor, open_executor
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Failure, LocalExecutor, Task
from dsactl.errors import DataError, RunError, UsageError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dsactl[ray]'")


def add(shared: int, number: int, progress: Progress) -> tuple[int, int]:
    progress.update(1, 2)
    return shared + number, os.getpid()


def die_once(_shared: None, folder: str, _progress: Progress) -> str:
    """Kill the worker on the first attempt."""
    mark = Path(folder) / "tried"
    if not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die(_shared: None, folder: str, _progress: Progress) -> None:
    with (Path(folder) / "times").open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_shared: None, _progress: Progress) -> None:
    raise DataError("no such thing", "look elsewhere")


@pytest.fixture(scope="module")
def ray() -> Iterator[RayExecutor]:
    with cluster() as who:
        yield who


def test_the_same_as_in_this_process(ray: RayExecutor) -> None:
    tasks = [Task(f"t{number}", add, (number,), cost=number) for number in range(8)]
    found = {task.name: result for task, result in ray.run(100, tasks, Progress())}
    here = {task.name: result for task, result in LocalExecutor().run(100, tasks, Progress())}
    assert [found[task.name][0] for task in tasks] == [here[task.name][0] for task in tasks] == [*range(100, 108)]
    assert os.getpid() not in {process for _, process in found.values()}


def test_a_killed_worker_s_task_is_done_elsewhere(ray: RayExecutor, tmp_path: Path) -> None:
    tasks = [Task("unlucky", die_once, (str(tmp_path),)), Task("other", die_once, (str(tmp_path),))]
    assert [result for _, result in ray.run(None, tasks, Progress())] == ["done", "done"]
    ((task, failed),) = ray.run(None, [Task("hopeless", die, (str(tmp_path),))], Progress())
    assert task.name == "hopeless"
    assert isinstance(failed, Failure)
    assert "tried 4 times, and its worker died" in failed.message
    assert (tmp_path / "times").read_text() == "xxxx", "once, and three times again"


def test_nothing_is_printed_on_stdout(ray: RayExecutor, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ray itself would print every worker's death there."""
    assert [result for _, result in ray.run(None, [Task("unlucky", die_once, (str(tmp_path),))], Progress())] == [
        "done"
    ]
    time.sleep(1)
    assert capfd.readouterr().out == ""


def threads_of(_shared: None, _progress: Progress) -> int:
    return torch.get_num_threads()


def test_workers_have_the_threads_that_are_recorded(ray: RayExecutor) -> None:
    assert [result for _, result in ray.run(None, [Task("threads", threads_of)], Progress())] == [ray.threads] == [1]


def test_an_error_comes_back_as_it_is(ray: RayExecutor) -> None:
    with pytest.raises(DataError, match="no such thing") as caught:
        list(ray.run(None, [Task("refused", refuse)], Progress()))
    assert caught.value.hint == "look elsewhere"


def test_who_does_the_tasks(ray: RayExecutor) -> None:
    assert isinstance(open_executor("off", "cpu").choose(100), LocalExecutor)
    assert isinstance(open_executor("auto", "cpu").choose(1), LocalExecutor), "one task waits for no cluster"
    with pytest.raises(UsageError, match="a share of a GPU above 0"):
        open_executor("auto", "cuda", 0.0)
    assert ray.choose(1) is ray, "who names a cluster wants it"
    with pytest.raises(UsageError, match="cannot all use cuda:1"):
        open_executor("auto", "cuda:1")
    assert ray.group_size(100, 20) == 20
    assert ray.group_size(6, 20) == max(2, -(-6 // usable_cores())), "each worker has some, and none is alone"
    assert ray.group_size(6, 1) == 1


def test_an_evaluation_that_is_given_up_keeps_what_it_has(ray: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    made = dsactl.condense("digits", ipc=10, method="random")
    how = {"network": dsactl.NetworkSpec(depth=1, width=16), "epochs": 1, "networks": 4}
    run = RayExecutor.run

    def third_dies(self: RayExecutor, shared, tasks, progress):  # type: ignore[no-untyped-def]
        for task, result in run(self, shared, tasks, progress):
            yield task, Failure("its worker died") if task.name == "network 3" else result

    with monkeypatch.context() as patch:
        patch.setattr(RayExecutor, "run", third_dies)
        with pytest.raises(RunError, match="convnet-depth1-width16, network 3 failed: its worker died"):
            dsactl.evaluate(made, executor=ray, **how)
    begun: list[str] = []

    def count(self: RayExecutor, shared, tasks, progress):  # type: ignore[no-untyped-def]
        begun.extend(task.name for task in tasks)
        return run(self, shared, tasks, progress)

    monkeypatch.setattr(RayExecutor, "run", count)
    assert dsactl.evaluate(made, executor=ray, **how).n == 4
    assert begun == ["network 3"]


def test_an_evaluation_on_ray_is_the_same(ray: RayExecutor) -> None:
    """Results are in the order of the networks' numbers, whichever finishes first, and recorded with one thread."""
    made = dsactl.condense("digits", ipc=10, method="random")
    network = {"network": dsactl.NetworkSpec(depth=1, width=16), "epochs": 5, "networks": 4}
    told = Told()
    there = dsactl.evaluate(made, executor=ray, progress=told, **network)
    assert told.seen == sorted(told.seen)
    assert told.seen[-1] == 4
    assert {total for _, total, *_ in told.updates} == {4}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = dsactl.evaluate(made, **network)
    finally:
        torch.set_num_threads(threads)
    assert here.repeated, "one thread here and one there are alike"
    assert here.accuracies == there.accuracies
    again = dsactl.evaluate(made, fresh=True, **network)
    assert again.n == 4
    assert len({*there.accuracies}) > 1
    more = dsactl.evaluate(made, executor=ray, **{**network, "networks": 6})
    assert more.accuracies[:4] == there.accuracies


def test_commands_take_the_switch(tmp_path: Path) -> None:
    """Evaluate a cell on Ray, and again in this process with one thread."""
    command = ["transfer", "digits", "--archs", "mlp", "--method", "herding", "--json"]
    command += ["--networks", "3", "--epochs", "4"]
    answers = []
    for name, where in (("a", "auto"), ("b", "off")):
        environment = {**os.environ, **ALIKE, "DSACTL_HOME": str(tmp_path / name / "home")}
        ended = processes.run(*command, "--ray", where, "--out", str(tmp_path / name), env=environment)
        assert ended.returncode == 0, ended.stderr
        answers.append(json.loads(ended.stdout)["cells"])
    assert answers[0][0]["accuracies"] == answers[1][0]["accuracies"]


@pytest.mark.slow
def test_a_search_with_a_killed_worker_finds_what_this_process_finds(tmp_path: Path) -> None:
    """Search with twelve networks, three proxies and two workers, one of which is killed during the search."""
    command = ["nas", "digits", "--json"]
    command += ["--where", "depth<=2,width=32,activation!=sigmoid,norm=none|instance|batch,pooling=avg"]
    command += ["--epochs", "40", "--whole-epochs", "4", "--repeats", "2", "--ipc", "3"]
    command += ["--proxy", "random,early-stopping,whole"]
    ours, theirs = tmp_path / "ray", tmp_path / "here"
    environment = {**os.environ, **ALIKE, "DSACTL_HOME": str(ours)}
    process = processes.start(*command, "--out", str(tmp_path / "a"), env=environment)
    end, folder = time.monotonic() + 240, ours / "runs" / "evaluations"
    while not (folder.is_dir() and len(list(folder.iterdir())) > 3 and (busy := working(process.pid))):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(busy[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    environment["DSACTL_HOME"] = str(theirs)
    straight = processes.run(*command, "--out", str(tmp_path / "b"), "--ray", "off", env=environment)
    assert straight.returncode == 0, straight.stderr
    for row, same in zip(json.loads(out)["rows"], json.loads(straight.stdout)["rows"], strict=True):
        for name in ("proxy", "images", "chosen", "accuracies", "correlations"):
            assert row[name] == same[name]
    assert {path.name for path in folder.iterdir()} == {
        path.name for path in (theirs / "runs" / "evaluations").iterdir()
    }
