"""Lists of runs: going on in other processes, stopped, finished, damaged. Some seconds."""

import errno
import fcntl
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
from filelock import FileLock, SoftFileLock
from reference import write_folder
from sessions import Stopping, Told

import dsactl
import registry
from dsactl.cli.commands import runs as command
from dsactl.engine import locks, run_files
from dsactl.recipes.recipe import Request
from dsactl.runs import listing, watching
from dsactl.runs.events import EventLog
from dsactl.runs.job import prepare, run_folder
from dsactl.text.sparkline import sparkline
from registry.locks import acquire, is_held, marker

Cli = Callable[..., tuple[int, str, str]]
LONG = ("condense", "digits@classes0-3", "--ipc", "1", "--width", "8", "--batch-real", "16", "--name", "lab/tiny")
LONG += ("--seed", "3", "--checkpoint-every", "0.05", "--iterations")
MANY = 100_000
DD = {"ipc": 1, "method": "dd", "width": 8, "precision": "float32"}


def begin(iterations: int) -> processes.Forked:
    """A run in another process."""
    return processes.start(*LONG, str(iterations), env={**os.environ, "NO_COLOR": "1", "DSACTL_COMPILE": "0"})


def wait_for(home: Path, pattern: str, process: processes.Forked) -> None:
    end = time.monotonic() + 120
    while not list(home.glob(pattern)):
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end
        time.sleep(0.02)


def stop_at(done: float, dataset: str | Path = "digits", **options: object) -> None:
    with pytest.raises(KeyboardInterrupt):
        dsactl.condense(dataset, device="cpu", progress=Stopping(done), **options)  # type: ignore[arg-type]


def test_a_run_of_another_process_that_is_killed_goes_on_with_the_listed_command(tmp_path: Path, cli: Cli) -> None:
    process = begin(MANY)
    try:
        wait_for(tmp_path / "home", "runs/*/checkpoint.safetensors", process)
        wait_for(tmp_path / "home", "runs/*/events.jsonl", process)
        [running] = json.loads(cli("runs", "--json")[1])
        assert (running["name"], running["state"], running["kind"]) == ("lab/tiny", "running", "set")
        assert (running["dataset"], running["ipc"], running["seed"]) == ("digits@classes0-3", 1, 3)
        assert 0 < running["done"] < running["total"] == MANY
        assert running["figures"]["distance"] > 0
        assert running["seconds_left"] == pytest.approx(
            (MANY - running["done"]) * running["seconds_per_step"], rel=0.02
        )
    finally:
        process.kill()
        process.communicate()
    [stopped] = json.loads(cli("runs", "--unfinished", "--json")[1])
    assert (stopped["run"], stopped["state"]) == (running["run"], "stopped")
    assert [run.key for run in dsactl.list_runs(stopped["run"][:8])] == [stopped["run"]]
    assert dsactl.list_runs(stopped["run"][:7]) == [], "it may be the whole name of a set"
    kept = run_files.read_description(Path(stopped["folder"]) / run_files.CHECKPOINT)
    assert kept is not None
    assert stopped["done"] == kept["done"], "steps after the last checkpoint are lost"
    _, said, _ = cli("runs")
    assert said.splitlines()[-1] == f"  {stopped['command']}"
    again = processes.start(*shlex.split(stopped["command"])[1:], "--checkpoint-every", "0")
    try:
        end = time.monotonic() + 120
        while (found := dsactl.list_runs())[0].done == stopped["done"] and time.monotonic() < end:
            assert again.poll() is None, again.communicate()
        [run] = found
        assert (run.key, run.state, run.total) == (stopped["run"], "running", MANY)
        assert run.done is not None
        assert run.done > stopped["done"], "it goes on where it was"
    finally:
        again.kill()
        again.communicate()


def test_a_run_is_followed_to_its_end(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its first look, so that it cannot end before."""
    monkeypatch.setattr(watching, "PATIENCE_SECONDS", 0.1)
    assert cli("runs", "--follow")[2] == "No run is going on. List all: dsactl runs\n"
    process = begin(200)
    wait_for(tmp_path / "home", "runs/*/checkpoint.safetensors", process)
    process.send_signal(signal.SIGSTOP)

    def sleep(_seconds: float) -> None:
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep))
    try:
        code, out, err = cli("runs", "--follow", "lab/*", "--json")
        process.communicate()
    finally:
        process.kill()
    seen = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert {each["name"] for each in seen} == {"lab/tiny"}
    assert [each["done"] for each in seen] == sorted(each["done"] for each in seen)
    assert [each["state"] for each in seen] == ["running"] * (len(seen) - 1) + ["finished"]
    assert (seen[-1]["reference"], seen[-1]["percent"]) == ("lab/tiny:1", 100)
    assert len(seen) > 2, "its progress was seen"


def test_what_a_list_says_of_finished_removed_and_stopped_runs(cli: Cli) -> None:
    dsactl.condense("digits", iterations=2, device="cpu", **DD)  # type: ignore[arg-type]
    dsactl.condense("digits", ipc=1, method="random")
    cli("rm", "digits-random-ipc1:1", "--yes")
    stop_at(2, iterations=5, **DD)
    finished, removed, stopped = dsactl.list_runs()
    assert [run.state for run in (finished, removed, stopped)] == ["finished", "removed", "stopped"]
    assert (finished.reference, finished.done, finished.percent, finished.seconds_left) == (
        "digits-dd-convnet-width8-ipc1:1",
        2,
        100,
        0,
    )
    assert (removed.name, removed.reference, removed.done) == ("digits-random-ipc1", None, None)
    assert (stopped.done, stopped.total, stopped.share, stopped.percent) == (2, 5, 0.4, 40)
    assert stopped.seconds_left == pytest.approx(3 * (stopped.seconds_per_step or 0))
    assert stopped.figure is not None
    assert dsactl.list_runs(unfinished=True) == [stopped]
    assert dsactl.list_runs("*-random-*") == [removed]
    assert dsactl.list_runs(stopped.key[:12] + "*") == [stopped]
    assert cli("runs", "-q")[1].splitlines() == [run.key for run in (finished, removed, stopped)]
    assert "No unfinished run matches. List all: dsactl runs" in cli("runs", "x", "--unfinished")[2]
    for order in ([stopped, removed, finished], [finished, removed, stopped]):
        for number, run in enumerate(order):
            for each in run.folder.iterdir():
                os.utime(each, (0, 1000 + number / 10))
        assert [run.key for run in dsactl.list_runs()] == [run.key for run in order], "the last written at the end"
    heads, *rows = cli("runs")[1].splitlines()
    assert heads.split()[:4] == ["run", "seed", "state", "steps"]
    assert [row.split()[2] for row in rows[:3]] == ["finished", "removed", "stopped"]
    assert rows[3] == "To continue the stopped run:"


def test_a_run_that_ends_while_it_is_read_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is followed would be shown as stopped, and would not be looked at again."""
    dsactl.condense("digits", iterations=2, device="cpu", **DD)  # type: ignore[arg-type]
    dsactl.experts("digits@classes0-3", networks=1, epochs=1, network=dsactl.NetworkSpec(width=8), device="cpu")
    paths = [run.folder / run_files.FINISHED for run in dsactl.list_runs()]
    records = {path: path.read_bytes() for path in paths}
    for path in records:
        path.unlink()

    def ends(lock: Path) -> bool:
        path = lock.with_name(run_files.FINISHED)
        path.write_bytes(records[path])
        return False

    monkeypatch.setattr(listing.RunReader, "is_held", lambda self, key: ends(self._home / key / "lock"))
    monkeypatch.setattr(listing.RunReader, "_unrecorded", lambda self, recipe: None)
    assert [run.state for run in dsactl.list_runs()] == ["finished", "finished"]


def test_steps_after_the_last_checkpoint_are_lost() -> None:
    """Unless the process that took them still works; events of an earlier one tell of none of this one's steps."""
    stop_at(2, iterations=9, **DD)
    [run] = dsactl.list_runs()
    log = run.folder / run_files.EVENTS
    with log.open("a") as file:
        file.write('{"step": 4, "total": 9, "loss": 1, "seconds": 2}\n')
    assert dsactl.list_runs()[0].done == 2
    with FileLock(run.folder / "lock"):
        assert [(run.state, run.done) for run in dsactl.list_runs()] == [("running", 4)]
        os.utime(run.folder / run_files.RECIPE, (0, log.stat().st_mtime + 1))
        assert [(run.state, run.done) for run in dsactl.list_runs()] == [("running", 2)]


def test_a_pool_of_experts_is_a_run(cli: Cli) -> None:
    small = {"networks": 2, "epochs": 3, "network": dsactl.NetworkSpec(width=8), "seed": 7, "name": "my-pool"}
    with pytest.raises(KeyboardInterrupt):
        dsactl.experts("digits@classes0-3", device="cpu", progress=Stopping(4), **small)  # type: ignore[arg-type]
    [stopped] = dsactl.list_runs()
    assert (stopped.kind, stopped.method, stopped.name, stopped.state) == ("experts", "experts", "my-pool", "stopped")
    assert (stopped.done, stopped.total, len(stopped.curve)) == (4, 6, 1)
    [command] = [line.strip() for line in cli("runs")[1].splitlines() if line.startswith("  ")]
    code, _, err = cli(*shlex.split(command)[1:])
    assert code == 0, err
    [finished] = dsactl.list_runs()
    assert (finished.key, finished.state, finished.reference) == (stopped.key, "finished", "my-pool:1")
    (finished.folder / run_files.FINISHED).unlink()  # as before there were records
    assert dsactl.list_runs()[0].reference == "my-pool:1"
    cli(*shlex.split(command)[1:], "--fresh")
    cli("rm", "my-pool:1", "--yes")
    assert dsactl.list_runs()[0].state == "removed"


def test_the_command_of_a_folder_of_images(tmp_path: Path, cli: Cli) -> None:
    """Two classes called by digits, whose images are mirrored all the same."""
    photos = write_folder(tmp_path / "my photos")
    for number, each in enumerate(sorted(photos.iterdir())):
        each.rename(photos / str(number))
    stop_at(1, photos, ipc=1, width=8, iterations=3, image_size=8, strategy="color_crop_cutout_flip_scale_rotate")
    [line] = [line for line in cli("runs")[1].splitlines() if line.startswith("  dsactl")]
    assert f"'{photos}'" in line
    code, out, err = cli(*shlex.split(line)[1:], "--json")
    assert code == 0, err
    [run] = dsactl.list_runs()
    assert run.reference == json.loads(out)[0]["reference"]


def test_damaged_files_are_remarked_on_and_the_other_runs_are_listed(cli: Cli) -> None:
    for seed in range(4):
        stop_at(2, iterations=5, seed=seed, **DD)
    folders = {run.recipe.seed: run.folder for run in dsactl.list_runs()}
    (folders[0] / run_files.RECIPE).write_text('{"dataset": "digi')
    (folders[1] / run_files.CHECKPOINT).write_bytes(b"\xff" * 100)
    (folders[2] / run_files.EVENTS).write_bytes(b'\xff\n[]\n7\n{"step": 1, "se\n{"step": 2, "seconds": 1}')
    (folders[3] / run_files.RUN).write_text("[]")
    told = Told()
    runs = {run.recipe.seed: run for run in dsactl.list_runs(progress=told)}
    assert {seed: run.done for seed, run in runs.items()} == {1: 0, 2: 2, 3: 2}
    assert runs[2].figures == {}
    assert len(told.remarks) == 3
    for seed, words in ((0, "A run is left out"), (1, "is damaged"), (3, "is damaged")):
        assert sum(words in remark and str(folders[seed]) in remark for remark in told.remarks) == 1
    code, _, err = cli("runs")
    assert code == 0
    assert len(err.splitlines()) == 3
    assert "--fresh" in err
    shutil.rmtree(folders[1])
    (folders[2] / run_files.RECIPE).unlink()
    assert [run.recipe.seed for run in dsactl.list_runs()] == [3]


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.read()
    assert (log.last, log.seconds_per_step(), log.curve()) == (None, None, [])

    def write(step: int, seconds: float, end: str = "\n") -> None:
        with path.open("a") as file:
            file.write(json.dumps({"step": step, "total": 9, "loss": step / 10, "seconds": seconds}) + end)

    write(2, 4.0)
    write(4, 6.0, end="")
    log.read()
    assert [event.step for event in log.events] == [2], "the second line is being written"
    write(4, 6.0)  # after a kill: behind the part of a line
    write(3, 5.0)
    write(5, 9.0)
    log.read()
    assert [event.step for event in log.events] == [2, 3, 5]
    write(3, 5.0)
    log.read()
    assert [event.step for event in log.events] == [2, 3], "it was killed after step 5, which was in no checkpoint"
    assert log.seconds_per_step() == 1.0
    assert log.curve() == [0.2, 0.3]
    write(63, 125.0)
    log.read()
    assert log.seconds_per_step() == 2.0, "of the last minute, and of two events at least"
    path.unlink()
    write(1, 0.5)
    log.read()
    assert [event.step for event in log.events] == [1], "it was started over"


def test_only_the_end_of_a_long_log_is_read_for_a_list(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"step": {step}, "loss": 1, "seconds": {step}}}\n' for step in range(1, 5001)))
    end, whole = EventLog(path), EventLog(path, None)
    for log in (end, whole):
        log.read()
        assert log.last is not None
        assert log.last.step == 5000
    assert 100 < len(end.events) < 1000
    assert len(whole.events) == 5000


def test_asking_for_a_lock_neither_makes_nor_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "MOMENT_SECONDS", 60.0)  # however busy the machine is
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not path.exists()
    with FileLock(path):
        assert is_held(path)
    assert not is_held(path)
    other = os.open(path, os.O_RDONLY)  # one who asks at this moment
    fcntl.flock(other, fcntl.LOCK_SH)
    threading.Timer(0.05, lambda: os.close(other)).start()
    locks.hold(path).release()


def test_locks_that_are_files_are_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems without flock; what a process that is no more has left is no lock."""

    def flock(_file: int, _how: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "lock"
    lock = acquire(path).lock
    assert is_held(path)

    def deny(_lock: SoftFileLock, timeout: float) -> None:
        raise PermissionError(errno.EACCES, f"Permission denied after {timeout} s")

    with monkeypatch.context() as denied:
        denied.setattr(SoftFileLock, "acquire", deny)
        assert is_held(path), "it is not permitted to find out whose it is"
    lock.release()
    assert not is_held(path)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    marker(path).write_text(f"{process.pid}\n{socket.gethostname()}\n")
    assert not is_held(path)


def test_a_run_before_its_first_step_has_its_total() -> None:
    """Of what is known from the recipe alone."""
    job = prepare(Request.parse({"dataset": "digits", "iterations": 7, "inner_steps": 2, "ipc": 1, "width": 8}), "cpu")
    folder = run_folder(registry.Store(), job.recipe)
    run_files.write_json(folder / run_files.RECIPE, job.recipe.to_dict())
    [run] = dsactl.list_runs()
    assert (run.state, run.done, run.total, run.seconds_left) == ("stopped", 0, 14, None)


def test_a_curve_in_a_line() -> None:
    assert sparkline([], 9) == ""
    assert sparkline([2.0, 2.0], 9) == "▁▁"
    assert sparkline([0.0, 7.0, 3.0], 9) == "▁█▄"
    assert sparkline([0.0, 2.0, 6.0, 8.0], 2) == "▁█"
    assert len(sparkline(list(range(1000)), 60)) == 60
