"""The command `dsactl nas`."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

import registry
from dsactl.cli import downloads, study_runs
from dsactl.text.formatting import accuracy, duration
from dsactl.cli.output import Output
from dsactl.cli.study_options import BY_RAY, DatasetName, ImageSize, Seed, StudyOptions
from dsactl.text.tables import Table
from dsactl.data.load import check_name
from dsactl.errors import InterruptedRunError, RunError, UsageError
from dsactl.studies.nas import proxy_names, space
from dsactl.networks.catalogue import NetworkSpec
from registry import extras

if TYPE_CHECKING:
    import torch

    from dsactl.engine.tasks import Executor
    from dsactl.studies.nas.proxies import Budget, Proxy, Searched
    from dsactl.studies.nas.results import Row
    from dsactl.studies.folder import Folder

EXAMPLES = """Examples:

  dsactl nas digits --where 'depth<=2,width<=64' --proxy random,early-stopping,whole
  dsactl nas cifar10 --proxy cifar10-dsa-convnet-ipc10,random,whole --sample 72
  dsactl nas cifar10 --dry-run"""

_PAPER_NETWORKS = 720
_BEST = 5  # number of networks per proxy in the table


def command(
    dataset: DatasetName,
    proxy: Annotated[
        str,
        typer.Option(
            metavar="A,B,…",
            help="Proxies that rank the networks: random, early-stopping, whole, or a set's reference.  "
            "\\[random, early-stopping, whole]",
            show_default=False,
        ),
    ] = "random,early-stopping,whole",
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITIONS", help="Conditions on the 720 ConvNets, e.g. depth<=3,norm=batch|group.  \\[none]"
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of networks to sample (with --seed).  \\[all]")
    ] = None,
    ipc: Annotated[int, typer.Option(min=1, help="Number of images per class of the proxy random.")] = 10,
    epochs: Annotated[
        int, typer.Option(min=1, help="Training epochs on a proxy set; early stopping gets the same number of steps.")
    ] = 300,
    whole_epochs: Annotated[int, typer.Option(min=1, help="Training epochs on all images.")] = 100,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Batch size.  \\[256; 100 for early stopping]"),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of trainings of each chosen network on all images.")
    ] = 5,
    seed: Seed = 0,
    image_size: ImageSize = None,
    run: StudyOptions = BY_RAY,
    *,
    output: Output,
) -> None:
    """Search architectures with proxies: Section 4.6, Table 6 and Figure 4 of the paper.

    Each network is trained on each proxy, and ranked by its accuracy on a held-out tenth of the training images. The
    best network of each proxy is then trained on all training images and tested. If whole is one of the proxies, the
    other rankings are correlated with its ranking.

    The result of each network is cached for later searches. The comparison and its plot need the extra "studies".
    """
    words = study_runs.listed(proxy, "proxy")
    store = registry.Store()
    check_name(dataset, image_size=image_size)
    for word in words:
        proxy_names.check(word, store)
    wanted = _wanted(where)
    if run.dry_run:
        downloads.check([dataset])
    else:
        extras.require("dsactl nas", "studies", "matplotlib", "scipy")

    from dsactl.engine.device import resolve_device, resolve_precision
    from dsactl.engine.on_ray import open_executor
    from dsactl.studies.nas import proxies
    from dsactl.studies.folder import Folder

    target = resolve_device(run.device)
    searched = proxies.load(dataset, image_size)
    networks = _networks(searched, wanted, sample, seed, output)
    budget = proxies.Budget(ipc, epochs, whole_epochs, batch, seed, resolve_precision("auto", target))
    made = [proxies.make(word, searched, budget, store, run.device, pretend=run.dry_run) for word in words]
    for each in made:
        if each.remark:
            output.remark(each.remark)
    who = open_executor(run.ray, run.device, run.gpu_share)
    if run.dry_run:
        _dry_run(made, networks, repeats, target, who, output)
        return
    plan = {
        "dataset": searched.full.name,
        "images": searched.full.checksums,
        "where": where,
        "sample": sample,
        "networks": len(networks),
        "ipc": ipc,
        "epochs": epochs,
        "whole_epochs": whole_epochs,
        "batch": batch,
        "repeats": repeats,
        "seed": seed,
    }
    folder = Folder(run.out or Path(f"{searched.full.name}-nas"), "nas", plan)
    with contextlib.closing(who):
        rows, failed = _search(made, networks, searched, budget, repeats, folder, store, target, who, output)
    papers = searched.full.name == "cifar10" and len(networks) == _PAPER_NETWORKS and budget.is_papers
    _answer(rows, folder, output, with_paper=papers)
    if failed:
        raise RunError(
            f"{study_runs.many(failed, 'network')} failed (see above); results that depend on them are missing.",
            "The same command retries them; all others are kept.",
        )


def _wanted(where: str | None) -> list[NetworkSpec]:
    """Return the networks that satisfy the conditions.

    Raises:
        UsageError: no network does.
    """
    wanted = space.space() if where is None else space.where(space.space(), where)
    if not wanted:
        raise UsageError(f"No network in the search space satisfies {where}.", f"Choices: {space.CHOICES}.")
    return wanted


def _networks(
    searched: "Searched", wanted: list[NetworkSpec], sample: int | None, seed: int, output: Output
) -> list[NetworkSpec]:
    """Return the networks that can take the images, or a sample of them.

    Raises:
        UsageError: no network can.
    """
    from dsactl.studies.nas.search import fitting

    found = fitting(wanted, searched.full)
    if len(found) < len(wanted):
        shape = searched.full.shape_text
        output.remark(f"{len(wanted) - len(found)} of {len(wanted)} networks are too deep for {shape} images.")
    if not found:
        raise UsageError("No network is left.", "Allow a smaller depth or use larger images, e.g. NAME@1x16x16.")
    return found if sample is None else space.sample(found, sample, seed)


def _search(
    made: "Sequence[Proxy]",
    networks: "Sequence[NetworkSpec]",
    searched: "Searched",
    budget: "Budget",
    repeats: int,
    folder: "Folder",
    store: "registry.Store",
    device: "torch.device",
    workers: "Executor",
    output: Output,
) -> "tuple[list[Row], int]":
    """Train the networks on each proxy, then the chosen ones on all images; write the results after each proxy.

    Returns:
        All rows in the folder, and the number of failed networks.
    """
    from dsactl.studies.nas.results import Row, write
    from dsactl.studies.nas.study import GivenUp, study

    rows: list[Row] = []
    failed = 0
    everything = write(folder, rows)
    try:
        with output.progress("searching", 100, "percent") as bar:

            def report(done: float, doing: str) -> None:
                bar.update(100 * done, doing)

            for found in study(made, networks, searched, budget, repeats, store, device, workers, report):
                if isinstance(found, GivenUp):
                    output.error(f"{found.what}: {found.message}", "")
                    failed += 1
                else:
                    rows.append(found)
                    everything = write(folder, rows)
            bar.update(100)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"Interrupted; {len(rows)} of {len(made)} proxies are done, and results of trained networks are kept.",
            "The same command continues from there.",
        ) from None
    return everything, failed


def _answer(rows: "Sequence[Row]", folder: "Folder", output: Output, *, with_paper: bool) -> None:
    """Print the table, with the paper's results next to ours if all settings match, and the paths of the files."""
    from dsactl.studies.nas.correlation import SHARES
    from dsactl.studies.nas.proxy_names import WHOLE
    from dsactl.studies.nas.results import differing, paper_column, ranks

    tops = tuple("all" if share == 1 else f"top {share:.0%}" for share in SHARES)
    papers = [paper_column(row) if with_paper else None for row in rows]
    ranked = [ranks(row, rows) for row in rows]
    in_words = [[_in_words(each.spearman, each.low, each.high) for each in found] for found in ranked]
    # No columns for trivial values: whole correlates perfectly with itself, a share of few networks not at all.
    compared = [words for row, words in zip(rows, in_words, strict=True) if row.proxy != WHOLE and words]
    columns = [place for place in range(len(tops)) if any(words[place] != "–" for words in compared)]
    right = ("accuracy %", *(tops[place] for place in columns), "time", "images")
    shown = Table(("proxy", "chosen network", *right), right=right, optional=("chosen network", "images", "time"))
    for row, paper, words in zip(rows, papers, in_words, strict=True):
        reached = accuracy({"mean": row.mean, "std": row.std, "n": row.n}) if row.accuracies else "–"
        correlations = ["–" if row.proxy == WHOLE or not words else words[place] for place in columns]
        shown.add(row.proxy, row.chosen, reached, *correlations, duration(row.seconds), f"{row.images:,}")
        if paper:
            theirs = [f"{paper['correlation']:.2f}" if place == 0 else "–" for place in columns]
            numbers = duration(60 * paper["minutes"]), f"{paper['images']:,.0f}"
            shown.add("  paper", "", f"{paper['accuracy']:.1f}", *theirs, *numbers)
    value = {
        "folder": str(folder.path),
        "rows": [
            {key: each for key, each in row.to_dict().items() if key != "networks"}
            | {"correlations": [vars(each) for each in found], "paper": paper}
            for row, paper, found in zip(rows, papers, ranked, strict=True)
        ],
    }
    head = "Test accuracy of the network chosen by each proxy"
    if columns:
        head += ", and Spearman's correlation of the proxy's ranking"
    best = Table(("rank", "network", "held-out %"), right=("rank", "held-out %"))
    for row in rows:
        best.add("", f"proxy {row.proxy}:", "")
        for rank, (name, score) in enumerate(row.ranking[:_BEST], 1):
            best.add(str(rank), name, f"{score.accuracy:.1f}")
    above = "Best networks by proxy, on the held-out images; the first is chosen"
    output.answer(value, [str(folder.path)], [head, shown, "", above, best])
    if any(each.low is not None for found in ranked for each in found):
        output.remark("In brackets: 95 % bootstrap interval over networks.")
    if differences := differing(rows):
        output.remark(f"The proxies differ in {' and '.join(differences)}, which affects all results: see nas.json.")
    output.remark("Time is for training all networks on the proxy. Ties are resolved by the order of the search space.")
    written = ", ".join(name for name in ("nas.csv", "nas.json", "nas.png") if (folder.path / name).exists())
    output.note(f"Written to {escape(str(folder.path))}: {written}")


def _in_words(spearman: float | None, low: float | None, high: float | None) -> str:
    if spearman is None:
        return "–"
    return f"{spearman:.2f}" if low is None else f"{spearman:.2f} [{low:.2f}, {high:.2f}]"


def _dry_run(
    made: "Sequence[Proxy]",
    networks: "Sequence[NetworkSpec]",
    repeats: int,
    device: "torch.device",
    workers: "Executor",
    output: Output,
) -> None:
    """Print the number of networks to train per proxy and the estimated time on this machine; none is trained."""
    import registry
    from dsactl.engine.device import describe
    from dsactl.studies.nas.cost import estimate

    store, costs = registry.Store(), []
    with output.progress("timing steps", len(made), "proxies") as bar:
        for index, proxy in enumerate(made):
            costs.append(estimate(proxy, networks, store, device, workers.choose(len(networks)).threads))
            bar.update(index + 1, proxy.name)
    shown = Table(
        ("proxy", "networks", "cached", "operations", "time"), right=("networks", "cached", "operations", "time")
    )
    for proxy, cost in zip(made, costs, strict=True):
        numbers = str(cost.networks), str(cost.known), f"{cost.operations:.2g}", duration(cost.seconds)
        shown.add(proxy.name, *numbers)
    total = sum(cost.seconds for cost in costs)
    value = {proxy.name: vars(cost) for proxy, cost in zip(made, costs, strict=True)}
    output.answer(value, [proxy.name for proxy in made], [shown, f"Total: {duration(total)} on {describe(device)}."])
    output.remark(
        "Estimated from a few steps of some of the networks, in sequence in this process. Not counted: training the "
        f"chosen networks on all images, {study_runs.many(repeats, 'time')} each; with few networks this takes longer "
        "than the search."
    )
