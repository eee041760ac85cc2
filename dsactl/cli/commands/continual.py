"""The command `dsactl continual`."""

from typing import Annotated

import typer

from dsactl.cli import downloads, options, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import BY_RAY, Seed, StudyOptions
from dsactl.studies.continual.continual_learning import WAYS, ContinualLearning
from dsactl.text.formatting import duration, many

EXAMPLES = """Examples:

  dsactl continual --tasks mnist,usps,digits --iterations 20 --repeats 3
  dsactl continual --dry-run
  dsactl continual --tasks digits --splits 5 --memory none,random,herding
  dsactl continual --memory dsa --distillation off --new-data condensed"""


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
        str,
        typer.Option(
            metavar="A,B,…", help="Methods that make the memories, as in condense; none is no memory. Not stored sets."
        ),
    ] = "herding,dc,dsa",
    ipc: Annotated[int, typer.Option(min=1, help="Number of images per class and task in the memory.")] = 10,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Number of iterations of iterative methods.  \\[the method's default]")
    ] = None,
    distillation: Annotated[
        str,
        typer.Option(
            help="Knowledge distillation: both (runs with and without), on or off.",
            autocompletion=options.one_of(*WAYS),
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
    seed: Seed = 0,
    run: StudyOptions = BY_RAY,
    *,
    output: Output,
) -> None:
    """Learn tasks in sequence with a memory of the earlier ones: Section 4.5 and Figure 3 of the paper.

    A network is trained on the images of each task and the memory (EEIL), and then fine-tuned on the memory alone;
    distillation from the previous network is optional. The memory has --ipc images per class of each task. Each method
    in --memory is a run of its own.

    The same command resumes an interrupted study; sets and phases that runs have in common are computed once. The plot
    needs the extra "studies", SVHN the extra "svhn".
    """
    names = study_runs.all_listed(tasks, "task")
    memories = study_runs.listed(memory, "memory")
    own = (distillation, repeats, precision, new_data, image_size, steps, lr, balance_steps, balance_lr)
    study = ContinualLearning(names, splits, memories, ipc, iterations, *own, distillation_weight, seed)
    if run.dry_run:
        downloads.check(names, study.hint_without_svhn())
        _dry_run(study, run.device, output)
    else:
        study_runs.run(study, run, output, "percent")


def _dry_run(study: ContinualLearning, device: str, output: Output) -> None:
    """Print the sets to make, the phases to train and the estimated time on this machine; nothing is written."""
    from dsactl.engine.device import describe
    from dsactl.engine.memory import keep_freed_memory
    from dsactl.engine.session import Session
    from dsactl.studies.continual.cost import estimate_cost

    keep_freed_memory()
    with output.progress("timing steps", len(study.tasks), "trials") as bar:
        session = Session.open(device, progress=bar)
        prepared = study.prepare(session)
        cost = estimate_cost(prepared, session)
    names, settings, first = ", ".join(prepared.names), prepared.settings, prepared.tasks[0].dataset
    lines = [
        f"{settings.network.label(first.channels, first.size)}, batches of {settings.batch}, "
        f"augmentation {' '.join(settings.strategy) or 'none'}, {settings.precision}.",
        f"Learning rates {settings.learn.lr:g} and {settings.balance.lr:g}, λ {settings.distillation:g}, "
        f"τ {settings.temperature:g}.",
        f"{many(len(prepared.runs), 'run')} of {many(len(prepared.tasks), 'task')} ({names}).",
        study_runs.sets_in_words(cost.sets),
        f"{many(cost.phases, 'phase')} would be trained, {many(settings.learn.steps, 'step')} on a task and "
        f"{settings.balance.steps} on the memory: about {duration(cost.learning)}.",
        f"Total: about {duration(cost.sets.making + cost.learning)} on {describe(session.device)}.",
    ]
    value = {
        "tasks": prepared.names,
        "courses": len(prepared.runs),
        "sets": cost.sets.sets,
        "made": cost.sets.made,
        "operations": cost.sets.operations,
        "making": cost.sets.making,
        "phases": cost.phases,
        "learning": cost.learning,
    }
    output.answer(value, prepared.names, lines)
    study_runs.remark_on_unknown(cost.sets, output)
    output.remark(
        "Estimated from a few uncompiled steps; long runs are compiled and faster. Phases with cached results are "
        "counted, but are not trained again."
    )
