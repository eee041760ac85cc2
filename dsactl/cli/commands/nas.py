"""The command `dsactl nas`."""

import contextlib
from typing import Annotated

import typer

import registry
from dsactl.cli import downloads, study_runs
from dsactl.cli.output import Output
from dsactl.cli.study_options import BY_RAY, DatasetName, ImageSize, Seed, StudyOptions
from dsactl.studies.nas.architecture_search import ArchitectureSearch
from dsactl.text.formatting import duration, many
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl nas digits --where 'depth<=2' --proxy random,early-stopping
  dsactl nas cifar10 --proxy cifar10-dsa-convnet-ipc10,random,whole --sample 72
  dsactl nas cifar10 --dry-run"""


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
    own = (where, sample, ipc, epochs, whole_epochs, batch, repeats, seed, image_size)
    study = ArchitectureSearch(dataset, words, *own)
    study.check_proxies(registry.Store())
    if run.dry_run:
        downloads.check([dataset])
        _dry_run(study, run, output)
    else:
        study_runs.run(study, run, output, "percent", "searching")


def _dry_run(study: ArchitectureSearch, run: StudyOptions, output: Output) -> None:
    """Print the number of networks to train per proxy and the estimated time on this machine; none is trained."""
    from dsactl.engine.device import describe
    from dsactl.engine.on_ray import open_executor
    from dsactl.engine.session import Session
    from dsactl.studies.nas.cost import estimate

    executor = open_executor(run.ray, run.device, run.gpu_share)
    with contextlib.closing(executor), output.progress("timing steps", len(study.proxies), "proxies") as bar:
        session, costs = Session.open(run.device, executor=executor), {}
        prepared = study.prepare(Session.open(run.device, executor=executor, progress=bar), pretend=True)
        for index, proxy in enumerate(prepared.proxies):
            costs[proxy.name] = estimate(proxy, prepared.networks, session)
            bar.update(index + 1, len(prepared.proxies), proxy.name)
    numbers = ("networks", "cached", "operations", "time")
    shown = Table(("proxy", *numbers), right=numbers)
    for name, cost in costs.items():
        shown.add(name, str(cost.networks), str(cost.known), f"{cost.operations:.2g}", duration(cost.seconds))
    total = duration(sum(cost.seconds for cost in costs.values()))
    value = {name: vars(cost) for name, cost in costs.items()}
    output.answer(value, list(costs), [shown, f"Total: {total} on {describe(session.device)}."])
    output.remark(
        "Estimated from a few steps of some of the networks, in sequence in this process. Not counted: training the "
        f"chosen networks on all images, {many(study.repeats, 'time')} each; with few networks this takes longer "
        "than the search."
    )
