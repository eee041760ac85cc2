"""Running a step within a limit, and its record: one JSON file, written when the step ends."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.gpu.options import Options
from benchmarks.gpu.results import reference_of
from benchmarks.gpu.steps import REFERENCE, ROOT, Step

GRACE = 15.0  # seconds for a checkpoint after SIGINT, then the processes are killed
TAIL = 15  # lines of a failed step's output

PARTS = ("report.md", "steps", "store", "studies", "authors")
"""What the check writes in the folder for its results."""
DONE, FAILED, UNFINISHED, PASSED_OVER = "done", "failed", "unfinished", "passed over"


@dataclass
class Record:
    """What is known of a step.

    Attributes:
        name, kind, title, commands, paper, tag: see `Step`.
        state: "done", "failed", "unfinished" (it goes on the next time) or "passed over".
        why: the reason for any state but the first.
        exit: the exit status of its last command; None if it was not run.
        seconds: of all attempts since it was last begun from its start.
        results: see `benchmarks.gpu.results`.
        tail: the last lines of its output.
        machine: where it was run.
        when: it ended, UTC.
    """

    name: str
    kind: str
    title: str
    commands: list[list[str]]
    paper: list[float] | None
    tag: list[str | int] | None
    machine: str
    state: str = PASSED_OVER
    why: str = ""
    exit: int | None = None
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)
    when: str = ""

    @classmethod
    def of(cls, step: Step, machine: str) -> "Record":
        """Return the record of a step that was not run."""
        commands, paper = [list(command) for command in step.commands], step.paper and list(step.paper)
        return cls(step.name, step.kind, step.title, commands, paper, step.tag and list(step.tag), machine)


class Runner:
    """Runs steps one after the other and keeps their records.

    Args:
        options: of the check.
        machine: a description of the machine.
        began: by `time.monotonic`, the start of the time limit.
    """

    def __init__(self, options: Options, machine: str, began: float) -> None:
        self._options, self._machine, self._began = options, machine, began
        self._folder = options.out / "steps"
        self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def left(self) -> float:
        """Seconds that a step may take until the limit, its last checkpoint included."""
        return self._options.limit - GRACE - (time.monotonic() - self._began)

    def record(self, step: Step) -> Record | None:
        """Return the record of an earlier run of the same commands; None if there is none."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            found = Record(**json.loads((self._folder / f"{step.name}.json").read_text(encoding="utf-8")))
            if found.commands == [list(command) for command in step.commands]:
                return found
        return None

    def keep(self, record: Record) -> None:
        """Write a record."""
        record.when = datetime.now(UTC).isoformat(timespec="seconds")
        path = self._folder / f"{record.name}.json"
        path.with_suffix(".new").write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".new").replace(path)

    def obstacle(self, step: Step) -> str:
        """Return why a step is not begun now; empty if it can be."""
        if step.impossible:
            return step.impossible
        if step.needs:
            needed = self._folder / f"{step.needs}.json"
            if not needed.is_file() or json.loads(needed.read_text(encoding="utf-8"))["state"] != DONE:
                return f"{step.needs} is not done yet"
        if self.left < step.least:
            return f"needs {step.least:.0f} s, {max(0.0, self.left):.0f} s are left"
        return ""

    def run(self, step: Step) -> Record:
        """Run a step, and return its record, which is written.

        Raises:
            KeyboardInterrupt: passed on after the step has ended and its record is written.
        """
        record, earlier, began = Record.of(step, self._machine), self.record(step), time.monotonic()
        try:
            self._commands(step, record)
        except KeyboardInterrupt:
            record.state, record.why = UNFINISHED, f"interrupted{_position(record.tail)}"
            raise
        finally:
            before = earlier.seconds if earlier is not None and earlier.state == UNFINISHED else 0.0
            record.seconds = before + time.monotonic() - began
            self.keep(record)
        return record

    def pass_over(self, step: Step, why: str) -> Record:
        """Return the record of a step that is not run: that of its last run if there is one, or a new one."""
        if (earlier := self.record(step)) is not None and earlier.state != PASSED_OVER:
            return earlier
        record = Record.of(step, self._machine)
        record.why = why
        self.keep(record)
        return record

    def _commands(self, step: Step, record: Record) -> None:
        """Run the commands until one fails or the time is up, and read what they said."""
        own, most = step.most < self.left, min(self.left, step.most)
        ends, outputs = time.monotonic() + most, list[str]()
        record.state = DONE
        for number, command in enumerate(step.commands, start=1):
            argv = [reference_of(outputs[0]) if word == REFERENCE else word for word in command]
            said = self._folder / f"{step.name}-{number}"
            try:
                record.exit, cut = _call(argv, step.folder, self._environment(), said, ends - time.monotonic())
            finally:
                record.tail = _tail(said, (".out",) if step.kind == "tests" else (".err", ".out"))
            outputs.append(said.with_suffix(".out").read_text(encoding="utf-8", errors="replace"))
            if cut and not step.cut:
                record.state = FAILED if own else UNFINISHED
                record.why = f"ended after {most:.0f} s" if own else f"the time was up{_position(record.tail)}"
                break
            if record.exit and not cut:
                record.state, record.why = FAILED, f"exit status {record.exit}"
                break
        try:
            record.results = step.read(outputs)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            record.why = record.why or f"its output cannot be read ({type(error).__name__}: {error})"
        if record.state == DONE and not record.results:
            record.state, record.why = FAILED, record.why or "its output has no results"
        if record.state == DONE:
            record.tail = []

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        home = os.environ.get("DSACTL_HOME") or str(self._options.out / "store")
        own = {"PYTHONPATH": path, "DSACTL_HOME": home, "DSACTL_DEBUG": "1"}
        return {**os.environ, **own, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200"}


def _call(argv: list[str], folder: Path, environment: dict[str, str], said: Path, seconds: float) -> tuple[int, bool]:
    """Run a command; its output goes to files. Return its exit status, and whether it was ended at its limit.

    It has a process group of its own, so that Ctrl-C comes to this process, which hands it on and waits. A shell
    without job control has its background processes ignore SIGINT; the command does not.

    Args:
        argv: "python" stands for this Python.
        folder: where it runs.
        environment: the whole environment.
        said: path of the output files, without their endings .out and .err.
        seconds: limit.

    Raises:
        KeyboardInterrupt: after the command has ended.
    """
    argv = [sys.executable, *argv[1:]] if argv[0] == "python" else argv
    with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
        try:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        except OSError as error:
            err.write(f"{error}\n".encode())
            return 127, False
        try:
            return process.wait(max(0.0, seconds)), False
        except subprocess.TimeoutExpired:
            return _end(process), True
        except KeyboardInterrupt:
            _end(process)
            raise


def _end(process: "subprocess.Popen[bytes]") -> int:
    """End a process and its children by SIGINT, and by force if they do not end; return the exit status."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _tail(said: Path, endings: tuple[str, ...]) -> list[str]:
    """Return the last lines of the first of a command's output files that has any."""
    for ending in endings:
        lines = said.with_suffix(ending).read_text(encoding="utf-8", errors="replace").splitlines()
        if lines := [line.rstrip() for line in lines if line.strip()]:
            return lines[-TAIL:]
    return []


def _position(tail: list[str]) -> str:
    """Return where `dsactl` says that it was interrupted, as " at step 3 of 9"; empty if it does not."""
    found = re.search(r"Interrupted( at step \d+ of \d+)", "\n".join(tail))
    return found[1] if found else ""


def set_aside(out: Path) -> Path | None:
    """Move the results in a folder to its sub-folder `earlier-N`; return that, or None if there are none.

    What else is in the folder stays where it is.
    """
    parts = [out / name for name in PARTS if (out / name).exists()]
    if not parts:
        return None
    kept = next(path for number in count(1) if not (path := out / f"earlier-{number}").exists())
    kept.mkdir()
    for each in parts:
        shutil.move(each, kept / each.name)
    return kept
