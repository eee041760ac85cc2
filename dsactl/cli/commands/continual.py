"""The command `dsactl continual`."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dsactl.cli import downloads, options, study_runs
from dsactl.cli.formatting import accuracy, duration
from dsactl.cli.output import Output
from dsactl.cli.tables import Table
from dsactl.continual.tasks import check_splits, check_tasks, splits_of, tasks_of
from dsactl.data.catalogue import missing_files
from dsactl.data.views import Shape
from dsactl.engine.words import OFF
from dsactl.errors import DataError, InterruptedRunError, RunError, UnknownNameError, UsageError
from dsactl.recipes import methods as methods
from registry import extras

if TYPE_CHECKING:
    from dsactl.continual.learner import Settings
    from dsactl.continual.results import Entry, Score
    from dsactl.continual.study import Study
    from dsactl.continual.tasks import Task
    from dsactl.engine.tasks import Executor
    from dsactl.studies.folder import Folder

EXAMPLES = """Examples:

  dsactl continual --tasks mnist,usps,digits --iterations 20 --repeats 3
  dsactl continual --dry-run
  dsactl continual --tasks digits --splits 5 --memory none,random,herding --ipc 5 --repeats 3
  dsactl continual --tasks mnist,usps,digits --memory dsa --distillation off --new-data condensed"""

_WITHOUT_SVHN = "mnist,usps,digits"
_WAYS = {"both": (False, True), "on": (True,), "off": (False,)}
_SIDE = 32


def command(
    tasks: Annotated[
        str,
        typer.Option(
            metavar="A,B,…", help="Datasets or image folders, one per task, in this order; a single one with --splits."
        ),
    ] = "svhn,mnist,usps",
    splits: Annotated[
        int | None, typer.Option(min=2, help="Number of tasks into which the classes of one dataset are split.")
    ] = None,
    memory: Annotated[
        str, typer.Option(metavar="A,B,…", help="Methods that make the memories, as in condense; none is no memory.")
    ] = "herding,dc,dsa",
    ipc: Annotated[int, typer.Option(min=1, help="Number of images per class and task in the memory.")] = 10,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Number of iterations of iterative methods.  \\[the method's default]")
    ] = None,
    distillation: Annotated[
        str,
        typer.Option(
            help="Knowledge distillation: both (runs with and without), on or off.",
            autocompletion=options.one_of(*_WAYS),
        ),
    ] = "both",
    repeats: Annotated[int, typer.Option(min=1, help="Number of repeats, with different seeds and sets.")] = 5,
    precision: options.Precision = "auto",
    new_data: Annotated[
        str,
        typer.Option(
            help="Images of a new task: real, or condensed (only its condensed set).",
            autocompletion=options.one_of("real", "condensed"),
        ),
    ] = "real",
    image_size: Annotated[
        int | None,
        typer.Option(min=4, help="Side of the images in pixels, with three channels.  \\[32; with --splits unchanged]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of SGD steps on a new task.  \\[400]")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Initial learning rate on a new task; divided by 10 at half time.  \\[0.03]")
    ] = None,
    balance_steps: Annotated[
        int | None, typer.Option(min=1, help="Number of SGD steps on the memory alone.  \\[100]")
    ] = None,
    balance_lr: Annotated[
        float | None,
        typer.Option(help="Initial learning rate on the memory alone; divided by 10 at half time.  \\[0.001]"),
    ] = None,
    distillation_weight: Annotated[
        float | None, typer.Option(help="Weight of the distillation loss relative to the cross-entropy.  \\[0.3]")
    ] = None,
    seed: study_runs.Seed = 0,
    device: options.Device = "auto",
    ray: options.Ray = "auto",
    gpu_share: options.GpuShare = 1.0,
    out: study_runs.Out = None,
    dry_run: study_runs.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Learn tasks in sequence with a memory of the earlier ones: Section 4.5 and Figure 3 of the paper.

    A network is trained on the images of each task and the memory (EEIL), and then fine-tuned on the memory alone;
    distillation from the previous network is optional. The memory has --ipc images per class of each task. Each method
    in --memory is a run of its own.

    The same command resumes an interrupted study; sets and phases that runs have in common are computed once. The plot
    needs the extra "studies", SVHN the extra "svhn".
    """
    output = Output(as_json=as_json, quiet=quiet)
    kept = study_runs.words(memory, "memory", [*methods.names(), "none"])
    for option, value, known in (
        ("distillation", distillation, tuple(_WAYS)),
        ("new data", new_data, ("real", "condensed")),
    ):
        if value not in known:
            raise UnknownNameError(option, value, known)
    if new_data == "condensed" and "none" in kept:
        raise UsageError("--memory none has no set to learn a new task from.", "Remove none from --memory.")
    for option, number in (("--lr", lr), ("--balance-lr", balance_lr), ("--distillation-weight", distillation_weight)):
        if number is not None and not 0 < number < 1e6:
            raise UsageError(f"{option} must be above 0 and below 1e6, not {number}.")
    if not dry_run:
        extras.require("dsactl continual", "studies", "matplotlib")
    names = _names(tasks, splits)
    if dry_run:
        downloads.check(names, f".{_without_svhn(names)}")

    from dsactl.continual.memory import Memory
    from dsactl.continual.study import Study
    from dsactl.engine.device import resolve_device, resolve_precision
    from dsactl.engine.on_ray import workers

    resolved = resolve_precision(precision, resolve_device(device))
    memories = [Memory(method, ipc, iterations, resolved) for method in kept]
    if iterations is not None and not any(each.iterates for each in memories):
        output.remark("--iterations has no effect on these memories.")
    with contextlib.closing(workers(OFF if dry_run else ray, device, gpu_share)) as who:
        sequence = _sequence(names, splits, image_size)
        study = Study(
            sequence,
            memories,
            _WAYS[distillation],
            repeats,
            _settings(sequence, resolved, steps, lr, balance_steps, balance_lr, distillation_weight),
            new_data,
            seed,
        )
        study.check(device)
        _remark_on_classes(sequence, output)
        if dry_run:
            _dry_run(study, device, output)
        else:
            _run(study, device, who, out or Path(_own_name(tasks, splits)), output)


def _names(tasks: str, splits: int | None) -> tuple[str, ...]:
    """Parse the datasets of the tasks, and check what can be checked before loading them.

    Raises:
        DsactlError: an unknown name, or tasks that cannot form a sequence.
    """
    names = study_runs.all_listed(tasks, "task")
    if splits is None:
        check_tasks(names)
        return names
    if len(names) > 1:
        raise UsageError(f"--splits takes one dataset, not {len(names)}.", "Give a single one as --tasks.")
    check_splits(names[0], splits)
    return names


def _without_svhn(names: "Sequence[str]") -> str:
    """Return an addition to the hint if SVHN is one of the tasks and missing; otherwise an empty string."""
    return f" Without SVHN: --tasks {_WITHOUT_SVHN}" if "svhn" in names and missing_files("svhn") else ""


def _sequence(names: "Sequence[str]", splits: int | None, image_size: int | None) -> "list[Task]":
    if splits is not None:
        return splits_of(names[0], splits, None if image_size is None else Shape(3, image_size, image_size))
    side = image_size or _SIDE
    try:
        return tasks_of(names, Shape(3, side, side))
    except DataError as error:
        raise DataError(error.message, f"{error.hint}{_without_svhn(names)}") from None


def _remark_on_classes(sequence: "Sequence[Task]", output: Output) -> None:
    """Print a remark if tasks that share outputs name a class differently; classes are matched by order."""
    first = sequence[0]
    for task in sequence[1:]:
        pairs = zip(first.dataset.class_names, task.dataset.class_names, strict=True)
        other = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if task.first == first.first and other:
            output.remark(
                f"Classes are matched by order: {other[0]!r} of {first.name} and {other[1]!r} of {task.name} "
                "share an output."
            )


def _settings(
    sequence: "list[Task]",
    precision: str,
    steps: int | None,
    lr: float | None,
    balance_steps: int | None,
    balance_lr: float | None,
    weight: float | None,
) -> "Settings":
    from dsactl.augmentation.strategy import default_strategy
    from dsactl.continual.learner import BALANCE, DISTILLATION, LEARN, Phase, Settings
    from dsactl.networks.catalogue import NetworkSpec

    first = sequence[0].dataset
    return Settings(
        NetworkSpec().resolve(first.channels, first.size),
        default_strategy(mirrored=all(task.dataset.mirrored for task in sequence)),
        Phase(steps or LEARN.steps, lr or LEARN.lr),
        Phase(balance_steps or BALANCE.steps, balance_lr or BALANCE.lr),
        DISTILLATION if weight is None else weight,
        precision=precision,
    )


def _own_name(tasks: str, splits: int | None) -> str:
    names = "-".join(Path(name).resolve().name for name in study_runs.listed(tasks, "task"))
    return f"continual-{names}" if splits is None else f"continual-{names}-{splits}"


def _run(study: "Study", device: str, who: "Executor", path: Path, output: Output) -> None:
    """Compute all runs, write each result, and print the table."""
    import registry
    from dsactl.continual.courses import go_through
    from dsactl.continual.results import Entry, in_order, memories_of, write
    from dsactl.engine.device import describe, resolve_device
    from dsactl.studies.folder import Folder

    folder, target = Folder(path, "continual", study.plan), resolve_device(device)
    names = [task.name for task in study.tasks]
    entries: list[Entry] = []
    with folder.writing():  # so that an unwritable folder is reported now
        earlier = memories_of(folder)
    memories = list(dict.fromkeys([*earlier, *(memory.method for memory in study.memories)]))
    where = describe(target, who.suited(len(study.courses)).threads)
    try:
        with output.progress("continual", 100, "percent") as bar:

            def report(share: float, doing: str) -> None:
                bar.update(100 * share, doing)

            for course, outcome in go_through(study, registry.Store(), target, who, report):
                if isinstance(outcome, RunError):
                    output.error(f"{course.in_words}: {outcome.message}", outcome.hint)
                    continue
                entries.append(Entry(*course.key, outcome.rows, outcome.references, outcome.seconds, where))
                write(folder, entries, names, memories, study.title, is_papers=study.is_papers)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; {len(entries)} of {len(study.courses)} runs are done, and all finished work is kept.",
            "The same command continues from there.",
        ) from None
    if entries:
        _answer(in_order(entries, memories), study, folder, output)
    if len(entries) < len(study.courses):
        raise RunError(
            f"{len(study.courses) - len(entries)} of {len(study.courses)} runs failed (see above).",
            "The same command retries them; the others are kept.",
        )


def _answer(entries: "Sequence[Entry]", study: "Study", folder: "Folder", output: Output) -> None:
    """Print the table with the paper's results next to ours, and the paths of the files."""
    from dsactl.continual.results import lines_of, paper_mean

    names, lines = [task.name for task in study.tasks], lines_of(entries)
    papers = [paper_mean(line) if study.is_papers else None for line in lines]
    numbers = (*names, "forgetting", "n", *(("paper",) if study.is_papers else ()))
    stages, last = (
        Table(("memory", "distillation", *numbers), right=numbers),
        Table(("memory", "distillation", *names), right=names),
    )
    for line, paper in zip(lines, papers, strict=True):
        way = "on" if line.distilled else "off"
        lost = _score(line.forgetting, line.n) if line.forgetting else "–"
        figure = ("–" if paper is None else f"{paper:.1f}",) if study.is_papers else ()
        stages.add(line.memory, way, *(_score(each, line.n) for each in line.means), lost, str(line.n), *figure)
        last.add(line.memory, way, *(_score(each, line.n) for each in line.tasks))
    value = {
        "folder": str(folder.path),
        "lines": [{**line.to_dict(), "paper": paper} for line, paper in zip(lines, papers, strict=True)],
        "courses": [entry.to_dict() for entry in entries],
    }
    heads = (
        "Mean test accuracy over the tasks so far, after each task, %",
        "Final test accuracy per task, %",
    )
    output.answer(value, [str(folder.path)], [heads[0], stages, "", heads[1], last])
    if study.repeats > 1:
        output.remark("Mean ± population standard deviation over the repeats.")
    output.remark("Forgetting: mean over the earlier tasks of the best minus the final accuracy.")
    output.note(f"Written to {escape(str(folder.path))}: continual.csv, continual.json, continual.png")


def _score(score: "Score", n: int) -> str:
    return accuracy({"mean": score[0], "std": score[1], "n": n})


def _shape(study: "Study") -> tuple[int, tuple[int, int]]:
    first = study.tasks[0].dataset
    return first.channels, first.size


def _dry_run(study: "Study", device: str, output: Output) -> None:
    """Print the sets to make, the phases to train and the estimated time on this machine; nothing is written."""
    import registry
    from dsactl.engine.device import describe, resolve_device
    from dsactl.engine.memory import keep_freed_memory

    keep_freed_memory()
    target = resolve_device(device)
    with output.progress("timing steps", len(study.tasks), "trials") as bar:

        def report(done: int, total: int) -> None:
            bar.update(done, "", total=total)

        cost, phases, seconds = study.cost(registry.Store(), target, report)
    names, settings = ", ".join(task.name for task in study.tasks), study.settings
    lines = [
        f"{settings.network.label(*_shape(study))}, batches of {settings.batch}, "
        f"augmentation {settings.strategy}, {settings.precision}.",
        f"Learning rates {settings.learn.lr:g} and {settings.balance.lr:g}, λ {settings.distillation:g}, "
        f"τ {settings.temperature:g}.",
        f"{len(study.courses)} runs of {len(study.tasks)} tasks ({names}).",
        study_runs.sets_in_words(cost),
        f"{phases} phases would be trained, {study.settings.learn.steps} steps on a task and "
        f"{study.settings.balance.steps} on the memory: about {duration(seconds)}.",
        f"Total: about {duration(cost.making + seconds)} on {describe(target)}.",
    ]
    value = {
        "tasks": [task.name for task in study.tasks],
        "courses": len(study.courses),
        "sets": cost.sets,
        "made": cost.made,
        "operations": cost.operations,
        "making": cost.making,
        "phases": phases,
        "learning": seconds,
    }
    output.answer(value, [task.name for task in study.tasks], lines)
    study_runs.remark_on_unknown(cost, output)
    output.remark(
        "Estimated from a few uncompiled steps; long runs are compiled and faster. Phases with cached results are "
        "counted, but are not trained again."
    )
