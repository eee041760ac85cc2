"""The command `dsactl ablate`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.augmentation.strategy import KINDS, default_strategy
from dsactl.cli import ablate_gradients, options, study_runs
from dsactl.cli.output import Output
from dsactl.data.layout import mirrors
from dsactl.errors import UnknownNameError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.recipes import methods as methods
from dsactl.studies import ablations
from registry import extras

if TYPE_CHECKING:
    from dsactl.recipes.recipe import Request
    from dsactl.studies.cells import Cell
    from dsactl.studies.entries import Entry, Key
    from dsactl.studies.folder import Folder

EXAMPLES = """Examples:

  dsactl ablate strategies cifar10 --ipc 10 --dry-run
  dsactl ablate schemes digits --kinds crop,rotate --iterations 100 --networks 5
  dsactl ablate ipc digits --ipc 1,10 --methods random,herding,dsa --sets 5
  dsactl ablate init digits --iterations 300
  dsactl ablate gradients digits --ipc 10 --iterations 20"""

_STUDIES = {
    "schemes": ("scheme", "kind"),
    "strategies": ("strategy",),
    "init": ("init",),
    "ipc": ("method", "ipc"),
    "gradients": (),
}
"""The parts of the cells' keys for each study."""


def command(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help=f"Study: {', '.join(_STUDIES)}.", autocompletion=options.one_of(*_STUDIES)
        ),
    ],
    dataset: study_runs.DatasetName,
    ipc: Annotated[
        str, typer.Option(metavar="N", help="Number of images per class; a list for the study ipc: 1,10,50.")
    ] = "1",
    method: Annotated[
        str, typer.Option(help="Method, as in condense.", autocompletion=options.complete_method)
    ] = "dsa",
    several: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B,…", help="Methods to compare in the study ipc.  \\[random, dc, dsa]"),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Kinds of augmentation in the studies schemes and strategies.  \\[schemes: those of Table 4; "
            "strategies: all that suit the dataset]",
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--schemes", metavar="A,B,…", help="Rows of Table 4 in the study schemes.  \\[all seven]"),
    ] = None,
    sets: study_runs.Sets = 1,
    networks: study_runs.Networks = 20,
    iterations: study_runs.Iterations = None,
    epochs: study_runs.Epochs = None,
    seed: study_runs.Seed = 0,
    arch: options.Arch = None,
    image_size: study_runs.ImageSize = None,
    device: options.Device = "auto",
    ray: options.Ray = "off",
    gpu_share: options.GpuShare = 1.0,
    out: study_runs.Out = None,
    dry_run: study_runs.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Vary one factor and fix the others, as in Tables 4 and 5 and Figures 5 and 6 of the paper.

    schemes: which batches are augmented, with one transformation per batch or one per image.

    strategies: each kind of augmentation alone, and all together.

    init: initialisation from noise and from real images, with pictures of the progress.

    gradients: gradient norms of real and synthetic batches, with and without augmentation.

    ipc: accuracy over the number of images per class, for several methods.

    Stored sets and cached results are reused. The plots need the extra "studies".
    """
    if study not in _STUDIES:
        if dataset in _STUDIES:
            raise UsageError(f"{study} is not a study.", f"Give the study first: dsactl ablate {dataset} {study}")
        raise UnknownNameError("study", study, _STUDIES)
    numbers = _numbers(ipc, several=study == "ipc")
    _check_method(study, method, sets, epochs)
    _check_options(study, several, rows, kinds)
    output = Output(as_json=as_json, quiet=quiet)
    request = study_runs.request_of(
        dataset, numbers[0], method=method, seed=seed, iterations=iterations, arch=arch, image_size=image_size
    )
    protocol = Protocol(networks=networks, epochs=epochs)
    entries = _entries(study, request, numbers, several, rows, kinds, protocol)
    if not dry_run:
        extras.require("dsactl ablate", "studies", "matplotlib")

    from dsactl.studies.cells import check
    from dsactl.studies.folder import Folder

    if dry_run:
        study_runs.dry_run(entries, sets, device, output, tested=study != "gradients")
        return
    job = check(entries, device)[0]
    name = job.dataset.name
    plan = study_runs.plan_of(request, sets, protocol, job.dataset)
    if study == "ipc":
        del plan["ipc"], plan["method"]
    if study == "gradients":
        del plan["sets"], plan["epochs"]
    folder = Folder(out or Path(_own_name(study, name, request)), study, plan)
    if study == "gradients":
        ablate_gradients.run([entry.request for entry in entries], networks, folder, device, output)
        return
    if study == "init":
        _write_evolution(entries, folder, device, output)

    def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
        return _plot(study, cells, entries, f"{name}, {_about(study, request)}")

    names = _STUDIES[study]
    cells = study_runs.run(entries, names, folder, sets, device, output, draw, job, ray=ray, gpu_share=gpu_share)
    study_runs.answer(cells, len(entries), names, folder, sets, output)


def _check_method(study: str, method: str, sets: int, epochs: int | None) -> None:
    """Refuse methods and options that do not fit the study."""
    fits = ("dsa", "dc") if study == "init" else ("dsa",)
    if study == "ipc" and method != "dsa":
        raise UsageError("The study ipc takes --methods, not --method.", f"Use --methods {method}.")
    if method not in fits:
        raise UsageError(
            f"The study {study} has nothing to vary in --method {method}.",
            f"Use --method {' or '.join(fits)}.",
        )
    if study == "gradients" and (sets != 1 or epochs is not None):
        raise UsageError(
            "The study gradients uses one set, and trains no network to the end.",
            "Leave out --sets and --epochs; --networks sets the number of measurements.",
        )


def _check_options(study: str, several: str | None, rows: str | None, kinds: str | None) -> None:
    """Refuse options of other studies."""
    for option, value, studies in (
        ("--methods", several, ("ipc",)),
        ("--schemes", rows, ("schemes",)),
        ("--kinds", kinds, ("schemes", "strategies")),
    ):
        if value is not None and study not in studies:
            raise UsageError(f"{option} is for {' and '.join(studies)}, not for {study}.", "Leave it out.")


def _numbers(text: str, *, several: bool) -> list[int]:
    """Parse one number of images per class, or a list.

    Raises:
        UsageError: not a positive integer, or a list where one number is expected.
    """
    words = text.split(",")
    numbers = [word.isascii() and word.strip().isdigit() and int(word) > 0 for word in words]
    if not all(numbers) or (len(words) > 1 and not several):
        what = "a comma-separated list of numbers, such as 1,10,50" if several else "a number of images per class"
        raise UsageError(f"--ipc {text!r} is not {what}.")
    return list(dict.fromkeys(int(word) for word in words))


def _entries(
    study: str,
    request: "Request",
    numbers: list[int],
    several: str | None,
    rows: str | None,
    kinds: str | None,
    protocol: Protocol,
) -> list["Entry"]:
    """Return the entries of a study's cells."""
    match study:
        case "ipc":
            compared = study_runs.words(several or "random,dc,dsa", "method", methods.names())
            return ablations.ipcs(request, numbers, compared, protocol)
        case "init":
            return ablations.starts(request, protocol)
        case "gradients":
            return ablations.with_and_without(request, protocol)
    suitable = default_strategy(mirrored=mirrors(request.dataset))
    chosen = None if kinds is None else study_runs.words(kinds, "kind of augmentation", KINDS)
    if study == "strategies":
        return ablations.strategies(request, chosen or suitable, protocol)
    columns = chosen or [kind for kind in ablations.SCHEME_KINDS if kind in suitable]
    known = list(ablations.SCHEMES)
    chosen_rows = known if rows is None else study_runs.words(rows, "scheme", known)
    return ablations.schemes(request, chosen_rows, columns, protocol)


def _own_name(study: str, dataset: str, request: "Request") -> str:
    return f"{dataset}-{study}" if study == "ipc" else f"{dataset}-{study}-{request.method}-ipc{request.ipc}"


def _about(study: str, request: "Request") -> str:
    iterations = request.settings.get("iterations")
    less = "" if iterations is None else f", {iterations} iterations"
    return f"{study}{less}" if study == "ipc" else f"{study}, {study_runs.per_class(request)}, {request.method}{less}"


def _plot(study: str, cells: "Mapping[Key, Cell]", entries: "list[Entry]", title: str) -> dict[str, bytes]:
    """Draw the study's plot of the finished cells."""
    from dsactl.studies.plots import heat_map, lines, points

    rows = study_runs.in_order(0, entries, cells)
    if study == "schemes":
        labels = {"row_label": "scheme", "column_label": "augmentation"}
        columns = study_runs.in_order(1, entries, cells)
        return {"schemes.png": heat_map(rows, columns, cells, title=title, **labels)}
    picture = lines(rows, cells, title=title) if study == "ipc" else points(rows, cells, title=title)
    return {f"{study}.png": picture}


def _write_evolution(entries: "list[Entry]", folder: "Folder", device: str, output: Output) -> None:
    """Write a strip and an animation of the synthetic images during condensing, per initialisation (Figure 6)."""
    import registry
    from dsactl.studies.evolution import animation, strip, watch_condensing

    store = registry.Store()
    for entry in entries:
        (start,) = entry.key
        with study_runs.explained_interrupt(), study_runs.steps(f"from {start}", output) as report:
            job, seen = watch_condensing(entry.request, store, device, report)
        labels = range(min(job.dataset.classes, 4))
        folder.put(f"init-{start}-strip.png", strip(seen, job.dataset, labels))
        folder.put(f"init-{start}.webp", animation(seen, job.dataset))
