"""Record the digests and accuracies of a fixed list of commands, and compare them with an earlier record.

    python tests/bits.py RECORD.json            write a record, or compare with the one that is there
    python tests/bits.py RECORD.json PART…      of these parts alone: sets, resumed, shared, evaluations, studies

The commands go through the command line alone, so that a record outlives every rearrangement of the code. Bits differ
from processor to processor: a record holds on the machine that wrote it. Two minutes, on one thread.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMON = ("--precision", "float32", "--width", "8")
SMALL = ("--iterations", "3", *COMMON)
SETS = {
    "dsa": ("digits", "--ipc", "2", "--inner-steps", "2", *SMALL),
    "dsa bfloat16": ("digits", "--ipc", "1", "--iterations", "3", "--width", "8", "--precision", "bfloat16"),
    "dsa unusual": (
        *("digits", "--ipc", "3", "--inner-steps", "2", "--network-epochs", "2", "--batch-synthetic", "2", *SMALL),
        *("--scheme", "both", "--distance", "cos", "--init", "noise", "--strategy", "crop_rotate", "--norm", "batch"),
    ),
    "dsa large": ("digits", "--ipc", "1", "--iterations", "2", "--precision", "float32"),
    "dc": ("digits", "--ipc", "2", "--method", "dc", "--seed", "3", *SMALL),
    "random": ("digits", "--ipc", "2", "--method", "random"),
    "herding": ("digits", "--ipc", "2", "--method", "herding", *COMMON, "--option", "epochs=2"),
    "kcenter": ("digits", "--ipc", "2", "--method", "kcenter", *COMMON, "--option", "epochs=2"),
    "forgetting": ("digits", "--ipc", "2", "--method", "forgetting", *COMMON, "--option", "epochs=2"),
    "dd": ("digits", "--ipc", "2", "--method", "dd", "--inner-steps", "2", *SMALL),
    "ld": ("digits", "--ipc", "2", "--method", "ld", *SMALL),
}
LONG = ("--iterations", "60", "--inner-steps", "2", "--ipc", "1", "--checkpoint-every", "0", *COMMON)
RESUMED = {
    "dsa": ("digits", *LONG),
    "dd": ("digits", "--method", "dd", *LONG),
}
EVALUATIONS = {
    "dsa": ("digits-dsa-convnet-width8-ipc2", "--networks", "3", "--epochs", "5", "--precision", "float32"),
    "dsa on mlp": ("digits-dsa-convnet-width8-ipc2", "--networks", "2", "--epochs", "5", "--arch", "mlp"),
    "ld": ("digits-ld-convnet-width8-ipc2", "--networks", "2", "--epochs", "5", "--precision", "float32"),
    "dc's own augmentation": ("digits-dc-convnet-width8-ipc2", "--networks", "2", "--epochs", "5", "--strategy", "dc"),
    "whole": ("--method", "whole", "digits", "--networks", "2", "--epochs", "2", "--arch", "mlp"),
}
STUDIES = {
    "transfer": ("digits", "--archs", "mlp,convnet", "--iterations", "2", "--networks", "2", "--epochs", "3"),
    "ablate schemes": ("digits", "--iterations", "2", "--networks", "2", "--epochs", "3", "--kinds", "crop"),
    "ablate gradients": ("digits", "--iterations", "2"),
    "continual": (
        *("--tasks", "digits", "--splits", "2", "--memory", "none,random,dsa", "--iterations", "2", "--steps", "20"),
        *("--balance-steps", "5", "--repeats", "1", "--ipc", "1", "--precision", "float32"),
    ),
    "nas": (
        *("digits", "--sample", "3", "--epochs", "2", "--whole-epochs", "1", "--repeats", "1", "--ipc", "1"),
        *("--proxy", "random,whole", "--where", "width=32,depth=1"),
    ),
}
UNSTABLE = (
    "seconds",
    "making",
    "testing",
    "created",
    "environment",
    "minutes",
    "core_minutes",
    "cost",
    "out",
    "files",
    "folder",
    "device",
)


class Commands:
    """Commands on a store of their own.

    Attributes:
        home: the store.
    """

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DSACTL_")}
        self._environment = {**environment, "DSACTL_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def start(self, *words: str, launcher: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Start a command that answers in JSON."""
        command = [sys.executable, "-m", *launcher, *(("-m",) if launcher else ()), "dsactl", *words, "--json"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self._folder, env=self._environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, launcher: tuple[str, ...] = ()) -> Any:
        """The JSON answer of a command, which must succeed."""
        process = self.start(*words, launcher=launcher)
        out, err = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{words}: {err}")
        return json.loads(out)

    def digest(self, *words: str, launcher: tuple[str, ...] = ()) -> str:
        """Of the one set that a command makes."""
        (made,) = self.run("condense", *words, launcher=launcher)
        return str(made["digest"])


def interrupt(commands: Commands, words: tuple[str, ...]) -> None:
    """Start a run, and press Ctrl-C when its checkpoint has been written some times."""
    process = commands.start("condense", *words)
    seen = set[int]()
    while len(seen) < 10:
        for path in commands.home.glob("runs/*/checkpoint.safetensors"):
            seen.add(path.stat().st_mtime_ns)
        if process.poll() is not None:
            raise RuntimeError(f"{words} ended before it was interrupted: {process.communicate()[1]}")
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate()


def sets(commands: Commands) -> Iterator[tuple[str, Any]]:
    """Yield the digest of one set of every method."""
    for name, words in SETS.items():
        yield name, commands.digest(*words)


def resumed(commands: Commands) -> Iterator[tuple[str, Any]]:
    """Yield the digests of runs that were interrupted, which must be those of runs that were not."""
    for name, words in RESUMED.items():
        interrupt(commands, words)
        went_on = commands.digest(*words)
        if commands.digest(*words, "--fresh") != went_on:
            raise RuntimeError(f"{name}: an interrupted run gives other bits")
        yield name, went_on


def shared(commands: Commands) -> Iterator[tuple[str, Any]]:
    """Yield the digest of a set whose classes two processes share."""
    words = ("digits", "--ipc", "1", "--seed", "7", *SMALL)
    launcher = ("torch.distributed.run", "--nproc-per-node", "2")
    yield "two processes", commands.digest(*words, launcher=launcher)


def evaluations(commands: Commands) -> Iterator[tuple[str, Any]]:
    """Yield the accuracies of networks that are trained on sets of `sets`."""
    for name in ("dsa", "dc", "ld"):
        commands.run("condense", *SETS[name])
    for name, words in EVALUATIONS.items():
        yield name, commands.run("evaluate", *words)["accuracies"]


def stable(value: Any) -> Any:
    """An answer without what differs from one time to the next."""
    if isinstance(value, dict):
        return {key: stable(each) for key, each in value.items() if key not in UNSTABLE}
    return [stable(each) for each in value] if isinstance(value, list) else value


def studies(commands: Commands) -> Iterator[tuple[str, Any]]:
    """Yield the answers of small studies."""
    for name, words in STUDIES.items():
        yield name, stable(commands.run(*name.split(), *words))


PARTS = (sets, resumed, shared, evaluations, studies)


def record(parts: list[str]) -> dict[str, Any]:
    """Run the commands."""
    found: dict[str, Any] = {}
    for part in PARTS:
        if part.__name__ in parts or not parts:
            with tempfile.TemporaryDirectory() as folder:
                for name, value in part(Commands(Path(folder))):
                    print(part.__name__, name, value if isinstance(value, str) else "", flush=True)
                    found[f"{part.__name__}: {name}"] = value
    return found


def main() -> None:
    path, *parts = sys.argv[1:]
    found = record(parts)
    if not Path(path).exists():
        Path(path).write_text(json.dumps(found, indent=1))
        return
    before = json.loads(Path(path).read_text())
    different = [name for name, value in found.items() if stable(before.get(name)) != stable(value)]
    for name in different:
        print(f"DIFFERENT {name}\n  before {json.dumps(before.get(name))}\n  now    {json.dumps(found[name])}")
    print(f"{len(found) - len(different)} of {len(found)} are equal.")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
