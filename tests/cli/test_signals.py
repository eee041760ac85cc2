"""Signals that end a command: its work is kept, also where a terminal closes or an ssh connection drops."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import pytest
import torch
from waiting import read_until

from dsactl.cli import signals
from dsactl.engine.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
RUN = ("condense", "digits@classes0-3", "--ipc", "2", "--iterations", "2000", "--width", "16", "--batch-real", "64")
RUN += ("--checkpoint-every", "60", "--device", "cpu")


def _steps(home: Path) -> int:
    lines = [line for path in home.glob("runs/*/events.jsonl") for line in path.read_text().splitlines()]
    return int(json.loads(lines[-1])["step"]) if lines else 0


def _wait_for_steps(home: Path, more: int, process: "processes.Forked | subprocess.Popen[str]") -> int:
    end = time.monotonic() + 120
    while (found := _steps(home)) <= more:
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "no step in two minutes"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_a_run_keeps_what_it_did_since_the_last_checkpoint(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    begun = 0
    for _ in range(2):
        process = processes.start(*RUN, env={**os.environ, "NO_COLOR": "1"}, cwd=tmp_path)
        begun = _wait_for_steps(tmp_path / "home", begun, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 128 + number, err
        assert "the checkpoint was written." in err
        assert err.splitlines()[-1] == "  Run the same again to continue from there."
        assert "Traceback" not in err
        assert out == ""
        [path] = (tmp_path / "home").glob("runs/*/checkpoint.safetensors")
        assert read_checkpoint(path.read_bytes(), path, torch.device("cpu"))[1]["done"] >= begun


def test_under_nohup_a_run_goes_on(tmp_path: Path) -> None:
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-m", "dsactl", *RUN]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        begun = _wait_for_steps(tmp_path / "home", 0, process)
        process.send_signal(signal.SIGHUP)
        _wait_for_steps(tmp_path / "home", begun, process)
        process.terminate()
        process.communicate(timeout=120)
        assert process.returncode == 143
    finally:
        process.kill()
        process.communicate()


def test_a_terminal_that_closes(tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and every write to the terminal fails from then on."""
    import pty

    controller, terminal = pty.openpty()
    code = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    code += "sys.argv = ['dsactl', *sys.argv[1:]]; from dsactl.__main__ import start; start()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *RUN],
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.set_blocking(controller, False)
    try:
        end = time.monotonic() + 120
        while not _steps(tmp_path / "home"):
            assert process.poll() is None
            assert time.monotonic() < end
            try:
                os.read(controller, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        os.close(controller)
        process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (1, 128 + signal.SIGHUP)  # 1 if a write fails before the signal arrives
    assert list((tmp_path / "home").glob("runs/*/checkpoint.safetensors"))


EVALUATE = ("evaluate", "--networks", "1000", "--epochs", "400", "--device", "cpu")
NAS = ("nas", "digits", "--where", "depth=1,width=32", "--proxy", "random", "--epochs", "100000", "--device", "cpu")
TRANSFER = ("transfer", "digits", "--archs", "mlp", "--networks", "1000", "--iterations", "1", "--device", "cpu")


@pytest.mark.parametrize(
    ("name", "words", "begun", "kept"),
    [
        ("SIGTERM", EVALUATE, "evaluating", "before any network was finished; no result is stored."),
        ("SIGINT", EVALUATE, "evaluating", "before any network was finished; no result is stored."),
        ("SIGTERM", NAS, "searching", "0 of 1 proxies are done, and all finished work is kept."),
        ("SIGHUP", TRANSFER, "transfer", "0 of 1 cells are done, and all finished work is kept."),
    ],
)
def test_other_commands_say_what_is_kept(
    tmp_path: Path, name: str, words: tuple[str, ...], begun: str, kept: str
) -> None:
    environment = {**os.environ, "NO_COLOR": "1", "DSACTL_NATIVE": "0"}  # nothing to wait for
    if words == EVALUATE:
        assert processes.run("condense", "digits", "--ipc", "1", "--method", "random", env=environment).returncode == 0
    process = processes.start(*words, env=environment, cwd=tmp_path)
    assert process.stderr is not None
    said = read_until(process.stderr.fileno(), begun)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + getattr(signal, name), err
    *_, message, hint = (said + err).splitlines()
    assert message.startswith("Error: Interrupted")
    assert message.endswith(kept)
    assert hint.startswith("  ")
    assert "Traceback" not in err


def test_a_second_hangup_does_not_break_off_the_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_received", [])
    with pytest.raises(SystemExit) as stop:
        signals._end(signal.SIGHUP, None)
    assert stop.value.code == signals.exit_code() == 128 + signal.SIGHUP
    signals._end(signal.SIGHUP, None)
    with pytest.raises(SystemExit):
        signals._end(signal.SIGTERM, None)


@pytest.mark.parametrize("words", [("ls", "--bundled"), ("archs",), ("condense", "--help"), ("env", "--json")])
def test_a_reader_that_has_enough_is_no_error(words: tuple[str, ...], tmp_path: Path) -> None:
    """As `dsactl ls | head -1`, and one that reads nothing at all."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DSACTL_COMPILE": "0"}
    for reader in ("head -1", "true"):
        line = f'"{sys.executable}" -m dsactl {" ".join(words)} | {reader}'
        ended = subprocess.run(
            ["sh", "-c", line], env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120
        )
        assert (ended.returncode, ended.stderr) == (0, "")


CTRL_C = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "dsactl.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
sys.argv = ["dsactl", "ls"]
from dsactl.__main__ import start
start()
"""


def test_ctrl_c_while_the_program_is_loaded(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DSACTL_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
