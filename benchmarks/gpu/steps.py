"""The steps of the check, in the order in which they are run."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import authors, results
from benchmarks.gpu.cells import HEADLINE, Cell
from benchmarks.gpu.options import Options
from dsactl.data.catalogue import data_root, missing_files
from dsactl.paper import EPOCHS_AUGMENTED, MeanStd
from dsactl.recipes.methods import find
from dsactl.text.formatting import many

ROOT = Path(__file__).resolve().parents[2]
DSACTL = ("python", "-m", "dsactl")
REFERENCE = "@reference"
"""Stands in a command for the reference of the set that the step's first command made."""
TORCH = """
import json, platform, torch
there = torch.cuda.is_available()
print(json.dumps({
    "python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda,
    "cudnn": torch.backends.cudnn.version() if there else None, "gpu": torch.cuda.get_device_name() if there else None,
    "capability": torch.cuda.get_device_capability() if there else None,
    "memory": torch.cuda.mem_get_info()[1] if there else None}))
"""


Command = tuple[str, ...]


class Tag(NamedTuple):
    """What is benchmarked: the report shows those of one tag beside each other."""

    method: str
    ipc: int


@dataclass(frozen=True)
class Step:
    """A step: commands that are run one after the other, each in a process of its own.

    Attributes:
        name: of its files.
        kind: "machine", "tests", "bench", "authors", "cell", "study" or "evaluation": how its results are shown.
        title: for readers.
        commands: "python" stands for this Python.
        read: reads the outputs of the commands that have ended.
        least: seconds that must be left, or the step is not begun.
        most: seconds that it may take in all.
        folder: where its commands run.
        paper: the paper's accuracy.
        cut: whether an output that was cut short still has results.
        needs: the name of a step that must be done before.
        impossible: why it cannot be run here; empty if it can.
        tag: of a benchmark.
    """

    name: str
    kind: str
    title: str
    commands: tuple[Command, ...]
    read: Callable[[list[str]], results.Results]
    least: float
    most: float = inf
    folder: Path = ROOT
    paper: MeanStd | None = None
    cut: bool = False
    needs: str = ""
    impossible: str = ""
    tag: Tag | None = None


def steps(options: Options) -> Iterator[Step]:
    """Yield all steps, in order."""
    yield _machine()
    yield _tests()
    yield from _speed(options)
    yield from (_cell(options, cell) for cell in options.cells)
    yield from _studies(options)
    if options.cells:
        yield _evaluation(options)


def _machine() -> Step:
    commands = (("python", "-c", TORCH), (*DSACTL, "env", "--json"))
    smi = (("nvidia-smi",),) if shutil.which("nvidia-smi") else ()
    return Step("machine", "machine", "Machine", (*smi, *commands), results.machine, least=5, most=120)


def _tests() -> Step:
    marked = re.compile(r"mark\.gpu|ON_EACH_DEVICE")  # other files may import what is not installed here
    paths = (path for path in (ROOT / "tests").rglob("test_*.py") if marked.search(path.read_text(encoding="utf-8")))
    files = sorted(str(path.relative_to(ROOT)) for path in paths)
    command = ("python", "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *files)
    missing, title = _not_installed("pytest"), "Tests marked gpu"
    return Step("tests", "tests", title, (command,), results.tests, least=30, most=180, impossible=missing)


def _speed(options: Options) -> Iterator[Step]:
    """Yield the benchmarks, and the authors' program beside those of DSA."""
    shapes = "cifar10" if options.scale == 1 else "digits"
    for method, ipc in [("dsa", 1), ("dsa", 10), ("dsa", 50), ("dm", 10), ("dance", 10)]:
        name, tag = f"{method}-{ipc}", Tag(method, ipc)
        flags = ("--dataset", shapes, "--method", method, "--ipc", str(ipc), "--device", options.device, "--json")
        command = (*DSACTL, "bench", *flags)
        title = f"Speed, {ipc} per class, {method}"
        yield Step(f"bench-{name}", "bench", title, (command,), results.bench, least=40, most=240, tag=tag)
        if options.authors is not None and method == "dsa":
            yield Step(
                f"authors-{name}",
                "authors",
                f"{title}, the authors' program",
                (authors.command(options.authors, ipc, options.scale, data_root(), options.out / "authors"),),
                results.authors_speed,
                least=60,
                most=120,
                folder=options.authors,
                cut=True,
                impossible=_without("cifar10"),
                tag=tag,
            )


def _without(dataset: str) -> str:
    """Return that a dataset is missing; empty if it is here."""
    return f"{dataset} is not in {data_root()}" if missing_files(dataset) else ""


def _not_installed(*modules: str) -> str:
    """Return which modules are missing; empty if all are there."""
    missing = [module for module in modules if find_spec(module) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _condense(options: Options, cell: Cell) -> Command:
    command: Command = (*DSACTL, "condense", cell.dataset, "--ipc", str(cell.ipc), "--method", cell.method)
    if cell.formation > 1:
        command = (*command, "--formation", str(cell.formation))
    if options.scale < 1:
        counts = {"iterations": "--iterations"}
        if cell.method == "dance":
            counts |= {"expert_epochs": "--expert-epochs", "expert_networks": "--expert-networks"}
        for setting, flag in counts.items():
            default = getattr(find(cell.method).settings, setting, None)
            command = (*command, flag, str(options.scaled(default))) if isinstance(default, int) else command
    return (*command, "--device", options.device, "--json")


def _evaluate(options: Options, networks: int) -> Command:
    epochs = ("--epochs", str(options.scaled(EPOCHS_AUGMENTED))) if options.scale < 1 else ()
    counts = ("--networks", str(options.scaled(networks)), *epochs)
    return (*DSACTL, "evaluate", REFERENCE, *counts, "--device", options.device, "--json")


def _cell(options: Options, cell: Cell) -> Step:
    commands = (_condense(options, cell), _evaluate(options, 5))
    missing = _without(cell.dataset)
    return Step(
        f"cell-{cell.name}", "cell", cell.title, commands, results.cell, least=20, paper=cell.paper, impossible=missing
    )


def _evaluation(options: Options) -> Step:
    """Return the evaluation of the headline's set, or of the first cell's, by as many networks as the paper's."""
    cell = next((cell for cell in options.cells if (cell.dataset, cell.ipc) == HEADLINE), options.cells[0])
    return Step(
        "evaluation",
        "evaluation",
        f"{cell.title}, {many(options.scaled(20), 'network')}",
        (_condense(options, cell), _evaluate(options, 20)),
        results.evaluation,
        least=20,
        paper=cell.paper,
        needs=f"cell-{cell.name}",
        impossible=_without(cell.dataset),
    )


def _studies(options: Options) -> Iterator[Step]:
    """Yield the smallest forms of the studies, on digits."""
    iterations = ("--iterations", str(options.scaled(100)))
    tested = (*iterations, "--networks", str(options.scaled(5)), "--epochs", str(options.scaled(300)))
    forms = {
        "transfer": ("transfer", "digits", "--archs", "mlp,convnet", *tested),
        "ablate": ("ablate", "schemes", "digits", "--kinds", "crop", "--schemes", "A,siamese", *tested),
        "continual": (
            *("continual", "--tasks", "digits", "--splits", "2", "--memory", "dsa", "--ipc", "1", "--repeats", "1"),
            *("--distillation", "off", "--ray", "off", *iterations, "--steps", str(options.scaled(400))),
        ),
        "nas": (
            *("nas", "digits", "--sample", "4", "--proxy", "random,whole", "--repeats", "1", "--ray", "off"),
            *("--epochs", str(options.scaled(300)), "--whole-epochs", str(options.scaled(20))),
        ),
    }
    missing = _not_installed("matplotlib", "scipy")
    for name, form in forms.items():
        out = options.out / "studies" / f"{name}-{options.device}-{options.scale:g}"
        command = (*DSACTL, *form, "--device", options.device, "--out", str(out), "--json")
        title = f"Study {name} on digits"
        yield Step(f"study-{name}", "study", title, (command,), results.study, least=20, most=300, impossible=missing)
