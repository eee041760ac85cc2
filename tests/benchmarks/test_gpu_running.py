"""Steps of `make gpu` and their records, with small programs in place of slow commands."""

import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import running
from benchmarks.gpu.options import Options, parse
from benchmarks.gpu.running import DONE, FAILED, GRACE, UNFINISHED, Runner, set_aside
from benchmarks.gpu.steps import Step, steps


def options(out: Path, *more: str) -> Options:
    return parse(["--out", str(out), "--device", "cpu", "--cells", "digits:1", *more])


GO_ON = """
    import pathlib, signal, sys, time
    kept = pathlib.Path(sys.argv[1])
    if kept.exists():
        print('{"mean": 1.0, "std": 0.0, "n": 2}')
        sys.exit()
    def stop(*_):
        kept.write_text("checkpoint")
        print("Error: Interrupted at step 3 of 9; the checkpoint was written.", file=sys.stderr)
        sys.exit(130)
    signal.signal(signal.SIGINT, stop)
    print("begun", file=sys.stderr, flush=True)
    time.sleep(60)
"""


def program(folder: Path, text: str) -> tuple[str, ...]:
    """A command that runs a program."""
    path = folder / f"program-{len(list(folder.glob('program-*')))}.py"
    path.write_text(textwrap.dedent(text))
    return ("python", str(path))


def step(*commands: tuple[str, ...], **more: Any) -> Step:
    values = {"name": "one", "kind": "evaluation", "title": "One", "least": 0.0} | more
    return Step(commands=commands, read=lambda outputs: json.loads(outputs[-1]), **values)


def runner(out: Path, seconds: float = 60.0) -> Runner:
    return Runner(options(out, "--limit", str(seconds + GRACE)), "a machine", time.monotonic())


def up_when(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the time of a command be up as soon as it has said a text, however slow the machine is."""

    class Timed(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.files, self.up = [Path(more[name].name) for name in ("stdout", "stderr")], False

        def wait(self, timeout: float | None = None) -> int:
            while not self.up and self.poll() is None:
                self.up = any(text in path.read_text() for path in self.files)
                if self.up:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
                time.sleep(0.02)
            return super().wait(timeout)

    monkeypatch.setattr(running.subprocess, "Popen", Timed)


def take(one: Step, out: Path, capsys: pytest.CaptureFixture[str], seconds: float = 60.0) -> str:
    """Run a step as the command does, and return what it says."""
    command._take(one, runner(out, seconds), "one")
    return capsys.readouterr().out


def test_a_step_goes_on_where_the_time_was_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    up_when(monkeypatch, "begun")
    one = step((*program(tmp_path, GO_ON), str(tmp_path / "kept")))
    assert "unfinished: the time was up at step 3 of 9 (" in take(one, tmp_path, capsys)
    first = runner(tmp_path).record(one)
    assert first is not None
    assert (first.exit, first.tail[0], first.state) == (130, "begun", UNFINISHED)
    assert "    done (" in take(one, tmp_path, capsys)
    second = runner(tmp_path).record(one)
    assert second is not None
    assert (second.results, second.tail) == ({"mean": 1.0, "std": 0.0, "n": 2}, [])
    assert second.seconds > first.seconds
    assert "done before: 1.0 ± 0.0 %, n = 2" in take(one, tmp_path, capsys)


def test_a_command_keeps_its_work_where_the_check_runs_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up_when(monkeypatch, "begun")
    text = """
        import sys, time
        try:
            print("begun", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit("Error: Interrupted at step 5 of 9")
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        record = runner(tmp_path).run(step(program(tmp_path, text)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (record.state, record.why) == (UNFINISHED, "the time was up at step 5 of 9")


def test_an_interruption_ends_the_step_and_keeps_its_record(tmp_path: Path) -> None:
    one = step((*program(tmp_path, GO_ON), str(tmp_path / "kept")))
    begun = """
        import os, pathlib, signal, sys, time
        said = pathlib.Path(sys.argv[1])
        while not said.is_file() or not said.stat().st_size:
            time.sleep(0.05)
        os.kill(os.getppid(), signal.SIGINT)
    """
    _, path = program(tmp_path, begun)
    interrupter = subprocess.Popen([sys.executable, path, str(tmp_path / "steps" / "one-1.err")])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            runner(tmp_path).run(one)
    finally:
        signal.signal(signal.SIGINT, before)
        interrupter.wait(60)
    record = runner(tmp_path).record(one)
    assert record is not None
    assert (record.state, record.why, record.tail[0]) == (UNFINISHED, "interrupted at step 3 of 9", "begun")
    assert (tmp_path / "kept").read_text() == "checkpoint"


def test_a_failed_step_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = step(
        program(
            tmp_path,
            f"""
            import pathlib, sys
            mended = pathlib.Path({str(tmp_path / "mended")!r})
            sys.exit("a line\\nthe reason") if not mended.exists() else print('{{"mean": 2, "std": 0, "n": 1}}')
            """,
        )
    )
    assert "failed: exit status 1" in take(one, tmp_path, capsys)
    record = runner(tmp_path).record(one)
    assert record is not None
    assert record.tail == ["a line", "the reason"]
    (tmp_path / "mended").touch()
    assert "done (" in take(one, tmp_path, capsys)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("print('no JSON')", "its output cannot be read (JSONDecodeError"),
        ("print('{}')", "its output has no results"),
        ("import time; print('begun', flush=True); time.sleep(60)", "ended after 50 s"),
    ],
)
def test_what_fails_without_an_exit_status(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up_when(monkeypatch, "begun")
    record = runner(tmp_path).run(step(program(tmp_path, text), most=50.0))
    assert record.state == FAILED
    assert record.why.startswith(why)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    record = runner(tmp_path).run(step((str(tmp_path / "nothing"),)))
    assert (record.state, record.exit) == (FAILED, 127)
    assert "No such file" in record.tail[0]


def test_the_second_command_gets_the_set_of_the_first(tmp_path: Path) -> None:
    first = program(tmp_path, """print('[{"reference": "a-set:3"}]')""")
    second = program(tmp_path, "import json, sys; print(json.dumps({'given': sys.argv[1]}))")
    record = runner(tmp_path).run(step(first, (*second, "@reference")))
    assert record.results == {"given": "a-set:3"}


def test_steps_that_cannot_be_run_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = program(tmp_path, """print('{"mean": 2, "std": 0, "n": 1}')""")
    assert "passed over: no data" in take(step(good, impossible="no data"), tmp_path, capsys)
    assert "passed over: needs 100 s, " in take(step(good, least=100.0), tmp_path, capsys)
    assert "passed over: other is not done yet" in take(step(good, needs="other"), tmp_path, capsys)
    take(step(good, name="other"), tmp_path, capsys)
    assert "done (" in take(step(good, needs="other"), tmp_path, capsys)
    # A failure stays in the report when there is no time to repeat it.
    bad = step(program(tmp_path, "raise SystemExit(3)"), name="bad", least=1.0)
    take(bad, tmp_path, capsys)
    assert "passed over: needs 1 s, 0 s are left" in take(bad, tmp_path, capsys, seconds=0.0)
    record = runner(tmp_path).record(bad)
    assert record is not None
    assert record.state == FAILED


def test_other_commands_are_another_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = program(tmp_path, """print('{"mean": 2, "std": 0, "n": 1}')""")
    take(step(good), tmp_path, capsys)
    assert "done before" not in take(step((*good, "--more")), tmp_path, capsys)


AUTHORS = """
    import argparse, signal, sys, time
    parser = argparse.ArgumentParser()
    for name in ("dataset", "model", "method", "dsa_strategy", "init", "data_path", "save_path"):
        parser.add_argument(f"--{name}")
    for name in ("ipc", "Iteration", "num_exp", "num_eval"):
        parser.add_argument(f"--{name}", type=int)
    given = parser.parse_args()
    assert (given.dataset, given.method, given.num_eval) == ("CIFAR10", "DSA", 0)
    begun = time.mktime((2026, 1, 31, 23, 59, 30, 0, 0, -1))
    def say(seconds, text):
        print(time.strftime("[%Y-%m-%d %H:%M:%S]", time.localtime(begun + seconds)), text, flush=True)
    say(0, "training begins")
    for iteration in range(given.Iteration + 1):
        if iteration % 10 == 0:
            say(20 + 3 * iteration, "iter = %04d, loss = %.4f" % (iteration, 1.5))
    if given.ipc == 10:
        time.sleep(60)
"""


def test_the_authors_program_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with their options and log; with 10 images per class it does not end, and its times count."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "main.py").write_text(textwrap.dedent(AUTHORS))
    planned = {each.name: each for each in steps(options(tmp_path, "--authors", str(checkout)))}
    assert list(planned)[2:8:2] == ["bench-dsa-1", "bench-dsa-10", "bench-dsa-50"]
    assert planned["authors-dsa-1"].impossible.startswith("cifar10 is not in ")
    for name, iterations in (("authors-dsa-1", 200), ("authors-dsa-10", 20)):
        record = runner(tmp_path).run(replace(planned[name], impossible="", most=50.0))
        up_when(monkeypatch, "iter = 0020")
        assert (record.state, record.why) == (DONE, "")
        assert record.results == {"seconds_per_iteration": 3.0, "iterations": iterations}


def test_starting_over_keeps_what_was_there(tmp_path: Path) -> None:
    assert set_aside(tmp_path / "out") is None
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    assert set_aside(tmp_path / "out") is None
    for number in (1, 2):
        (tmp_path / "out" / "steps").mkdir()
        (tmp_path / "out" / "report.md").write_text(str(number))
        assert set_aside(tmp_path / "out") == tmp_path / "out" / f"earlier-{number}"
    assert (tmp_path / "out" / "earlier-1" / "report.md").read_text() == "1"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["earlier-1", "earlier-2", "mine.txt"]


def test_a_limit_leaves_time_for_a_checkpoint(tmp_path: Path) -> None:
    assert runner(tmp_path, 30.0).left == pytest.approx(30.0, abs=1)
    assert running.GRACE > 10
