"""The command `dsactl condense`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsactl.augmentation.strategy import KINDS, Strategy
from dsactl.cli import condense_budget, condense_runs, downloads, expert_pools, options
from dsactl.cli.config_file import naming, read_config
from dsactl.cli.method_options import PANEL
from dsactl.cli.output import Output
from dsactl.cli.torchrun import is_of_several
from dsactl.data.catalogue import entry_of
from dsactl.engine.words import OFF
from dsactl.errors import RunError, UsageError
from dsactl.networks.catalogue import PAPER_DEPTH
from dsactl.paper import SCHEDULE
from dsactl.recipes.budget import budget_of
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.request_check import check_request
from dsactl.text.formatting import bytes_in_words, duration, in_words, many
from dsactl.text.tables import Facts

if TYPE_CHECKING:
    from dsactl.runs.budget import Choice
    from dsactl.runs.job import Job

EXAMPLES = """Examples:

  dsactl condense digits --ipc 1
  dsactl condense cifar10 --ipc 10 --dry-run
  dsactl condense cifar10 --ipc 10 --method dance --formation 2 --budget 1h
  dsactl condense mnist --ipc 1 --sets 5 --seed 1 --ray auto
  dsactl condense ~/photos --image-size 32 --ipc 10 --method dm --budget 5m
  dsactl condense cifar10 --config recipe.toml --iterations 100
  torchrun --nproc-per-node 4 -m dsactl condense cifar10 --ipc 50"""


def command(
    dataset: Annotated[str | None, options.DATASET] = None,
    ipc: Annotated[int | None, typer.Option(help="Number of images per class.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"Method: {', '.join(BUILT_IN)}, or one of another package (docs/methods.md).  \\[dsa]",
            autocompletion=options.complete_method,
        ),
    ] = None,
    sets: Annotated[
        int, typer.Option(min=1, help="Number of sets, stored as versions of one name, with derived seeds.")
    ] = 1,
    seed: Annotated[int | None, typer.Option(help="Random seed.  \\[0]")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set, as \\[namespace/]name.  \\[DATASET-METHOD-ARCH-ipcN]")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="TOML file with options of the recipe by name, e.g. image_lr = 0.1; command-line options override it. "
            "Options of the run (--sets, --device, --ray, --fresh, …) cannot be in it.",
        ),
    ] = None,
    *,
    run: options.RunOptions,
    precision: Annotated[
        str | None,
        typer.Option(help=f"{options.PRECISION_HELP}  \\[auto]", autocompletion=options.complete_precision),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="New run from the first step, ignoring checkpoints, a stored result, and the numbers kept for "
            "--budget.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time for making the sets, e.g. 30m, 2h, 90s or 1h30m, without their evaluation: as many steps as fit "
            "by the time of the first few, at most the method's default number. If experts are needed that the store "
            "does not have, their training is part of it.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Time between checkpoints.  \\[30; 5 on Ray]", min=0, max=60),
    ] = None,
    log_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for TensorBoard (extra: tensorboard): distance or loss, seconds per step, images and recipe; "
            "each run has a folder of its own in it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Recipe and estimated work, time and memory only; nothing is written.")
    ] = False,
    formation: Annotated[
        int | None,
        typer.Option(
            metavar="F",
            min=1,
            help="Number of images along each side of a stored image: F×F images to train on for the storage of one.  "
            "\\[1]",
            rich_help_panel=PANEL,
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help=f"Kinds of augmentation, e.g. color_crop: {', '.join(KINDS)}, or none; for idc and dance, of networks "
            "that are trained on their sets; while condensing they have --matching-strategy.  "
            "\\[all six; no flip where classes are digits or single letters; none for dc]",
            rich_help_panel=PANEL,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Setting of a method of another package, which has no flag of its own; repeatable.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    network: options.NetworkOptions,
    image_size: options.ImageSize = None,
    test_fraction: options.TestFraction = None,
    split_seed: Annotated[
        int | None, typer.Option(help="Random seed of the test split.  \\[0]", rich_help_panel=options.FOLDERS)
    ] = None,
    short_classes: Annotated[
        str | None,
        typer.Option(
            help="Choice for classes with fewer training images than --ipc: refuse, repeat (their images in turn) or "
            "all (their images once; only random, herding, kcenter, forgetting, ld).  \\[refuse]",
            rich_help_panel=options.FOLDERS,
        ),
    ] = None,
    output: Output,
    **settings: Any,
) -> None:
    """Condense a dataset into a few synthetic images per class and store them.

    Each default says whose it is: as published (the paper's, or its authors' program's where it is silent), the
    authors' of the method, or ours; docs/methods.md says why. The same command resumes an interrupted run, and prints
    the stored set of a finished one.

    Which method: dance with --formation 2 is the most accurate, and an hour is enough on two CPU cores for 32×32 images
    (--budget 1h), most of it for experts: networks that are trained once for all sets (dsactl experts), after which
    five minutes do. Without experts dm with --formation 2 is next, in five minutes. Without formation both lose up to
    15 points (CIFAR-10, ten images per class); dsa takes a quarter of an hour for one. herding chooses real images;
    random is the baseline. docs/howto.md has figures.
    """
    asked: dict[str, Any] = {
        "dataset": dataset,
        "ipc": ipc,
        "method": method,
        "seed": seed,
        "name": name,
        "precision": precision,
    }
    asked |= {"formation": formation, "strategy": strategy}
    asked |= {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    asked |= {"short_classes": short_classes}
    asked |= network.given()
    flags: dict[str, Any] = {key: value for key, value in {**asked, **settings}.items() if value is not None}
    given = read_config(config)
    own = dict(map(_own_option, option or ()))
    in_file = {key: value for key, value in given.items() if key not in {**flags, **own}}
    for key in own.keys() & flags.keys():
        raise UsageError(f"--option {key} and --{key.replace('_', '-')} are both given.", "Leave one of them out.")
    if isinstance(known := given.get("options", {}), dict):  # what is given here overrides the file
        in_file |= {key: value for key, value in known.items() if key not in {**flags, **own}}
        own = {key: value for key, value in known.items() if key not in flags} | own
        given = {key: value for key, value in given.items() if key not in ("options", *own)}
        flags |= {"options": own} if own else {}
    with naming(config, in_file):
        request = _request({**given, **flags})
    seconds = None if budget is None else _seconds(request, budget, run)
    if log_dir is not None:
        condense_runs.check_log(run)
    if dry_run:
        downloads.check([request.dataset])

    from dsactl.engine.device import resolve_device
    from dsactl.engine.on_ray import open_executor
    from dsactl.engine.processes import join
    from dsactl.engine.tasks import LocalExecutor
    from dsactl.runs.expert_share import usable_pools
    from dsactl.runs.experts import Pools, missing_pool
    from dsactl.runs.run import is_made, note_run
    from dsactl.runs.runner import CHECKPOINT_SECONDS
    from dsactl.runs.tensorboard import check_log_dir
    from dsactl.runs.together import prepare_together
    from registry import Store

    with join(resolve_device(run.device), lambda error: output.error(error.message, error.hint)) as processes:
        if processes.count > 1 and run.ray != OFF:
            if processes.rank > 0:
                raise typer.Exit(1)
            raise UsageError(
                "torchrun and --ray cannot be combined.", "Use torchrun for one set, or --ray for several."
            )
        if processes.rank > 0:
            condense_runs.follow(request, run.device, sets, processes, budget=seconds, dry=dry_run)
            return
        executor = open_executor(OFF if dry_run else run.ray, run.device, run.gpu_share)
        with output.reading() as reading, naming(config, in_file):
            job = prepare_together(request, run.device, processes, reading)
        for remark in _remarks(request, job):
            output.remark(remark)
        choice = None
        if seconds is not None:
            chosen_by_user = request.settings.keys()
            with naming(config, in_file):
                choice = condense_budget.settle(
                    job, seconds, sets, output, processes, given=chosen_by_user, fresh=fresh, dry=dry_run
                )
            job = choice.applied(job)
        if dry_run:
            _dry_run(job, sets, output, choice)
            return
        logs = check_log_dir(log_dir)
        output.remark(_format_recipe(job.recipe))
        store = Store()
        missing = missing_pool(job, store) if processes.count == 1 else None
        if missing is not None and (fresh or not all(is_made(store, job.with_seed(each)) for each in range(sets))):
            if not fresh:  # a run that starts over is written down when it does
                for each in range(sets):
                    note_run(job.with_seed(each), store)
            others = [pool.words for pool in usable_pools(missing, store, request.settings.keys())]
            expert_pools.make_missing(missing, job.device, run, output, others)
        failed = 0
        with contextlib.closing(executor):
            how: dict[str, Any] = {"fresh": fresh, "checkpoint_every": checkpoint_every}
            if isinstance(suited := executor.choose(sets), LocalExecutor):
                how["checkpoint_every"] = CHECKPOINT_SECONDS if checkpoint_every is None else checkpoint_every
                how["pools"] = Pools()
                made = [condense_runs.run(job, index, sets, output, processes, logs, **how) for index in range(sets)]
            else:
                made, failed = condense_runs.side_by_side(job, sets, suited, output, **how)
        if made:
            budgeted = None if choice is None else condense_budget.to_json(choice, job, sets)
            condense_runs.answer(made, output, budgeted)
        if failed:
            raise RunError(
                f"{failed} of {sets} sets failed (see above).",
                "The same command (without --fresh) retries them.",
            )


def _seconds(request: Request, budget: str, run: options.RunOptions) -> float:
    """Return the seconds of a budget.

    Raises:
        UsageError: it is not valid, or does not go with the request or with Ray.
    """
    if run.ray != OFF:
        raise UsageError(
            "--budget and --ray cannot be combined: steps are timed in this process, and workers may be slower.",
            "Leave one of them out.",
        )
    return budget_of(request, budget)


def _own_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--option {text!r} is not NAME=VALUE.", "For example: --option epochs=10")
    return name.replace("-", "_"), value


def _request(values: dict[str, Any]) -> Request:
    for key, example in (
        ("dataset", "dataset, e.g. digits"),
        ("ipc", "option --ipc N, the number of images per class"),
    ):
        if key not in values:
            raise UsageError(f"Missing {example}.", "See: dsactl condense --help")
    request = Request.parse(values)
    if not is_of_several():  # under torchrun only process 0 reports the error, after all have connected
        check_request(request)
    return request


def _remarks(request: Request, job: "Job") -> Iterator[str]:
    """Yield remarks on the image folder, on slow operation, and on defaults that are ours instead of the paper's."""
    recipe = job.recipe
    if job.dataset.remark:
        yield job.dataset.remark
    if entry_of(recipe.dataset) is None and request.strategy is None and recipe.strategy:
        yield _on_mirroring(recipe.strategy)
    if recipe.network is None:
        return
    from dsactl.engine.native import compiler_remark

    yield from compiler_remark(job.device)
    settings = recipe.settings.values()
    scheduled = find(request.method).in_paper and "network_epochs" in settings
    if scheduled and request.ipc not in SCHEDULE and "inner_steps" not in request.settings:
        yield (
            f"The paper has no schedule for --ipc {request.ipc}; {many(settings['inner_steps'], 'inner step')} of "
            f"{many(settings['network_epochs'], 'network epoch')} are our choice."
        )
    if request.arch == "convnet" and request.depth is None and recipe.network.depth != PAPER_DEPTH:
        height, width = recipe.image_shape[1:]
        yield f"The paper has no images of {height}×{width}; --depth {recipe.network.depth} is our choice for them."


def _on_mirroring(strategy: Strategy) -> str:
    """Return a remark on whether the images of a folder are mirrored, and how to have it the other way."""
    other = "_".join(kind for kind in KINDS if kind == "flip" or kind in strategy)
    if "flip" not in strategy:
        return (
            f"The classes are digits or single letters, so images are not mirrored; with --strategy {other} they are."
        )
    plain = "_".join(kind for kind in strategy if kind != "flip")
    return f"Mirrored images are taken to keep their class; --strategy {plain} leaves mirroring out."


def _format_recipe(recipe: Recipe) -> str:
    """Format the resolved recipe in one line: "name value, name value"."""
    values = recipe.to_dict()
    values["checksum"] = values["checksum"][:12]
    values["strategy"] = recipe.strategy
    if recipe.network is not None:
        values["network"] = " ".join(str(value) for value in values["network"].values() if value is not None)
    values["image_shape"] = "×".join(map(str, recipe.image_shape))
    values |= values.pop("options", {})
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items())


def _dry_run(job: "Job", sets: int, output: Output, choice: "Choice | None") -> None:
    """Print the recipe and its cost, estimated from a few steps; nothing is written."""
    from dsactl.engine.device import describe
    from dsactl.engine.memory import keep_freed_memory
    from dsactl.expert_pools.estimate import estimate as estimate_pool
    from dsactl.expert_pools.estimate import in_words as pool_in_words
    from dsactl.runs.cost import try_a_step
    from dsactl.runs.experts import missing_pool
    from registry import Store

    keep_freed_memory()
    recipe = job.recipe
    method = find(recipe.method)
    counts = method.load_cost().counts(recipe, job.dataset) if method.cost else {"operations": 0.0}
    estimate, missing = try_a_step(recipe, job.dataset), missing_pool(job, Store())
    pool_seconds = 0.0
    if missing is not None:
        timed = None if choice is None else choice.experts
        pool_seconds = estimate_pool(missing, job.device).seconds if timed is None else timed.seconds
    seconds = estimate.seconds if estimate else None
    if choice is not None:
        seconds = choice.steps * choice.seconds
    value = {
        "name": str(job.name),
        "sets": sets,
        "recipe": recipe.to_dict(),
        **counts,
        "experts_seconds": pool_seconds,
        "seconds": seconds,
        "memory": estimate.memory if estimate else None,
        "device": describe(job.device),
    }
    if choice is not None:
        value["budget"] = condense_budget.to_json(choice, job, sets)
    shown = Facts()
    for key, item in recipe.to_dict().items():
        shown.add(key.replace("_", " "), in_words(item))
    shown.add("", "")
    shown.add("device", describe(job.device))
    if method.cost:
        steps = [
            many(count, name[:-1].replace("_", " "), ",") for name, count in counts.items() if name != "operations"
        ]
        shown.add("work per set", ", ".join(steps))
        shown.add("operations per set", f"{counts['operations']:.2g}")
    if seconds is None:
        shown.add("time per set", f"unknown: {recipe.method} is a method of another package")
    else:
        slower = "inner_steps" in counts and not choice
        compiled = " without compilation; long runs are compiled and faster" if slower else ""
        shown.add("time per set", f"about {duration(seconds)}, estimated from a few steps{compiled}")
    if estimate:
        shown.add("memory", f"about {bytes_in_words(estimate.memory)}")
    if missing is not None:
        shown.add("experts", f"{pool_in_words(missing, pool_seconds)}, which are trained first")
    if choice is not None:
        shown.add("command", condense_budget.command(job, sets))
    shown.add("would store", f"{job.name}, {many(sets, 'version')}")
    output.answer(value, [str(job.name)], [shown])
