"""`python -m benchmarks.gpu`, which `make gpu` starts."""

import re
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from benchmarks.gpu.options import Options
    from benchmarks.gpu.running import Runner
    from benchmarks.gpu.steps import Step

MODULES = {"pillow": "PIL"}
"""Modules of packages that are named otherwise."""


def main() -> int:
    """Run the steps that are not done; return 0 if none has failed, 1 if one has, 130 on an interruption."""
    began = time.monotonic()
    for ending in (signal.SIGINT, signal.SIGTERM):
        # Also where the shell that started this ignores Ctrl-C, as for its background.
        signal.signal(ending, signal.default_int_handler)
    _check_packages()
    from benchmarks.gpu import running
    from benchmarks.gpu.options import parse
    from benchmarks.gpu.steps import steps

    options = parse()
    planned = list(steps(options))
    wanted = [step for step in planned if not options.only or step.name.startswith(options.only)]
    if not wanted:
        _stop(f"No step begins with {' or '.join(options.only)}: {', '.join(step.name for step in planned)}")
    machine = _check_device(options.device)
    if options.again and (kept := running.set_aside(options.out)) is not None:
        print(f"The results before are in {kept}.")
    runner = running.Runner(options, machine, began)
    print(f"On {machine}. Results: {options.out / 'report.md'}. Seconds: {options.limit:.0f}.", flush=True)
    try:
        for number, step in enumerate(wanted, start=1):
            _take(step, runner, f"[{number}/{len(wanted)}] {step.title}")
            _write_report(planned, runner, options)
    except KeyboardInterrupt:
        _write_report(planned, runner, options)
        print("Interrupted; the same command goes on.")
        return 130
    records = [record for step in wanted if (record := runner.record(step)) is not None]
    states = [record.state for record in records]
    if running.UNFINISHED in states or any(record.why.endswith("are left") for record in records):
        print("Not everything is done; the same command goes on.")
    return 1 if running.FAILED in states else 0


def _take(step: "Step", runner: "Runner", label: str) -> None:
    """Run a step, unless it is done or cannot be run now; print a line before and after."""
    from benchmarks.gpu import report, running

    earlier = runner.record(step)
    if earlier is not None and earlier.state == running.DONE:
        print(f"{label}: done before: {report.in_words(earlier)}", flush=True)
        return
    if why := runner.obstacle(step):
        runner.pass_over(step, why)
        print(f"{label}: passed over: {why}", flush=True)
        return
    print(f"{label} … (at most {min(runner.left, step.most):.0f} s)", flush=True)
    record = runner.run(step)
    why = f": {record.why}" if record.why else ""
    print(f"    {record.state}{why} ({record.seconds:.0f} s): {report.in_words(record)}", flush=True)


def _write_report(planned: "list[Step]", runner: "Runner", options: "Options") -> None:
    from benchmarks.gpu.report import report

    records = [record for step in planned if (record := runner.record(step)) is not None]
    (options.out / "report.md").write_text(report(records, options.scale), encoding="utf-8")


def _check_packages() -> None:
    """End the program if a package that dsactl depends on is not there: nothing is installed here."""
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    names = re.findall(r'"([\w-]+)', listed[1]) if listed else []
    if missing := [name for name in names if find_spec(MODULES.get(name, name)) is None]:
        there = "put them on PYTHONPATH, or name another Python: make gpu GPU_PYTHON=…"
        _stop(f"{sys.executable} has no {', '.join(missing)}; {there}")


def _check_device(name: str) -> str:
    """Return a description of the machine; end the program if it does not have the device."""
    import platform

    import torch

    from dsactl.engine.device import describe, resolve_device
    from dsactl.errors import DeviceError

    try:
        device = resolve_device(name)
    except DeviceError as error:
        _stop(f"{error.message} Run this on a machine with a GPU, or rehearse: make gpu DEVICE=cpu SCALE=0.01")
    return f"{describe(device)}, torch {torch.__version__}, Python {platform.python_version()}"


def _stop(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    sys.exit(main())
