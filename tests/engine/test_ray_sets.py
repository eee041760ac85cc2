"""Sets and continual-learning runs on Ray: the same as in one process, even if a worker or the driver is killed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
from ray_workers import ALIKE, cluster, working
from sessions import session

import registry
from dsactl.engine import on_ray
from dsactl.engine.on_ray import RayExecutor
from dsactl.engine.progress import Progress
from dsactl.engine.tasks import Executor, Task
from dsactl.errors import ClusterError, RunError
from dsactl.recipes.recipe import Request
from dsactl.runs.job import prepare
from dsactl.runs.parallel import make_all

pytest.importorskip("ray", reason="Ray is not installed: pip install 'dsactl[ray]'")

CONDENSE = ["condense", "digits", "--ipc", "1", "--sets", "3", "--iterations", "40"]
CONDENSE += ["--width", "16", "--json"]
COURSES = ["continual", "--tasks", "digits@classes0-8", "--splits", "3", "--ipc", "3"]
COURSES += ["--steps", "15", "--balance-steps", "5", "--repeats", "1", "--memory", "none,random", "--json"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the digests of the sets made by one process with one thread."""
    home = tmp_path_factory.mktemp("straight")
    return digests(finished([*CONDENSE, "--ray", "off"], home).stdout)


def finished(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    done = processes.run(*command, env={**os.environ, **ALIKE, "DSACTL_HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return done


def digests(answer: str) -> list[str]:
    return [each["digest"] for each in json.loads(answer)]


def steps(run: Path) -> list[int]:
    """Return the steps that a run reported, in order."""
    return [json.loads(line)["step"] for line in (run / "events.jsonl").read_text().splitlines()]


def begun(command: list[str], home: Path, is_far: Callable[[], bool]) -> tuple[processes.Forked, list[int]]:
    """Start a command on Ray, wait until it is far enough, and return it with its busy workers."""
    process = processes.start(*command, env={**os.environ, **ALIKE, "DSACTL_HOME": str(home)})
    end = time.monotonic() + 120
    try:
        while not (is_far() and (busy := working(process.pid))):
            assert time.monotonic() < end
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
    except BaseException:
        process.kill()
        raise
    return process, busy


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["a worker", "Ctrl-C", "the driver"])
def test_whoever_is_killed_the_sets_are_the_same(straight: list[str], tmp_path: Path, whom: str) -> None:
    home = tmp_path / "store"
    # An interrupted run writes a checkpoint then; a killed one must have written it before.
    command = [*CONDENSE, "--ray", "auto", "--checkpoint-every", "60" if whom == "Ctrl-C" else "0"]
    what = "events.jsonl" if whom == "Ctrl-C" else "checkpoint.safetensors"

    def far() -> list[Path]:
        return [path.parent for path in home.glob(f"runs/*/{what}") if path.stat().st_size]

    process, busy = begun(command, home, lambda: bool(far()))
    kept = far()
    if whom == "a worker":
        os.kill(busy[0], signal.SIGKILL)
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert digests(out) == straight
    elif whom == "Ctrl-C":
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert out == ""
        assert "of 3 sets are stored." in errors
        assert "Run the same again to continue from there." in errors
        assert all(any((run / name).exists() for name in ("checkpoint.safetensors", "finished.json")) for run in kept)
    else:
        process.kill()
        process.communicate(timeout=60)
        end = time.monotonic() + 60
        while any(Path(f"/proc/{worker}").exists() for worker in busy):
            assert time.monotonic() < end, "a worker is still running without its driver"
            time.sleep(0.1)
    # An interrupted run resumes on Ray, the others in one process: each can resume what the other has left.
    again = finished([*command, "--ray", "auto" if whom == "Ctrl-C" else "off"], home)
    assert digests(again.stdout) == straight
    for run in kept:
        told = steps(run)
        assert told == sorted(told)
        assert (told.count(1), told[-1]) == (1, 40), "no run started over"
    store = registry.Store(home)
    assert len(store.sets()) == 3
    assert all("1 thread" in str(stored.manifest.provenance["environment"]) for stored in store.sets())


@pytest.mark.slow
def test_courses_on_ray_are_those_of_one_process(tmp_path: Path) -> None:
    """The results are the same although a worker is killed; the networks are in the store."""
    here = finished([*COURSES, "--ray", "off", "--out", str(tmp_path / "a")], tmp_path / "here")
    home = tmp_path / "there"
    command = [*COURSES, "--ray", "auto", "--out", str(tmp_path / "b")]
    process, busy = begun(command, home, lambda: any(home.glob("runs/continual/*.safetensors")))
    os.kill(busy[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors

    def told(answer: str) -> dict[str, object]:
        courses = json.loads(answer)["courses"]
        assert all(course["device"].startswith("cpu, 1 thread") for course in courses)
        return {
            f"{course['memory']} {course['distillation']} {course['repeat']}": course["accuracies"]
            for course in courses
        }

    assert told(out) == told(here.stdout)
    assert len(told(out)) == 4
    # A killed worker may have left a stale lock file, which does not count.
    kept = [
        sorted(path.name for path in each.glob("runs/continual/*.safetensors")) for each in (tmp_path / "here", home)
    ]
    assert kept[0] == kept[1]
    assert {stored.digest for stored in registry.Store(home).sets()} == {
        stored.digest for stored in registry.Store(tmp_path / "here").sets()
    }


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    with cluster() as who:
        yield who


@pytest.mark.slow
def test_a_run_that_diverges_leaves_the_others(executor: Executor) -> None:
    good, bad = (
        prepare(Request.parse({"dataset": "digits", "ipc": 1, "iterations": 2, "width": 16, **options}), "cpu")
        for options in ({}, {"image_lr": 1e38, "strategy": "color", "distance": "mse"})
    )
    store = registry.Store()
    found = dict(make_all([bad, good], session(store, executor=executor)))
    assert isinstance(found[0], RunError)
    assert "diverged" in found[0].message
    assert not isinstance(found[1], RunError)
    assert found[1].stored.digest == store.sets()[0].digest


def leave_a_file(_shared: None, folder: str, _progress: Progress) -> None:
    (Path(folder) / "computed").touch()


@pytest.mark.slow
def test_another_version_or_machine_is_said_before_it_computes(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = Task("any", leave_a_file, (str(tmp_path),))
    with monkeypatch.context() as patch:
        patch.setattr(on_ray, "__version__", "99")
        with pytest.raises(ClusterError, match=r"a worker is dsactl .* this process has dsactl 99, torch"):
            list(executor.run(None, [task], Progress()))
    monkeypatch.setattr(on_ray, "describe", lambda device, threads: f"{device}, {threads} thread, of old")
    with pytest.raises(ClusterError, match=r"a worker is dsactl .* 1 thread, of old"):
        list(executor.run(None, [task], Progress()))
    assert not (tmp_path / "computed").exists()
    monkeypatch.undo()
    list(executor.run(None, [task], Progress()))
    assert (tmp_path / "computed").exists()


@pytest.mark.slow
def test_terminated_with_workers(tmp_path: Path) -> None:
    home, command = tmp_path / "store", [*CONDENSE, "--ray", "auto"]
    process, _ = begun(command, home, lambda: any(home.glob("runs/*/events.jsonl")))
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "of 3 sets are stored." in errors
    assert "Run the same again to continue from there." in errors
