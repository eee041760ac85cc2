"""The command `dsactl relabel`."""

from dataclasses import replace
from typing import Annotated

import typer

from dsactl.cli import expert_pools, options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import contents, picture_lines, remarks_on_name, to_json, to_train_on
from dsactl.expert_pools.teacher import Teacher
from dsactl.synthetic.bundled import check_own_name

EXAMPLES = """Examples:

  dsactl relabel digits-random-ipc1
  dsactl relabel cifar10-random-ipc50 --experts my-experts:2 --epoch 20
  dsactl relabel mnist-dsa-convnet-ipc1 --teacher mean --name mnist-soft"""


def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help=options.SET_HELP, autocompletion=options.complete_reference)
    ],
    experts: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Pool of experts: name, name:version, name:tag or @sha256:…  \\[one of the same training images "
            "with the defaults of dsactl experts, or else the one of these images with the set's network and most "
            "epochs; if there is none, one is trained with the defaults]",
            autocompletion=options.complete_reference,
        ),
    ] = None,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="N|mean", help="Network of the pool, counted from 0, or mean (of the probabilities of all)."
        ),
    ] = "0",
    epoch: Annotated[
        int | None, typer.Option(help="Epoch after which the network was kept, one of the pool's.  \\[the last]")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Temperature of the softmax; above 1 for smoother labels.")] = 1.0,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the new set, as \\[namespace/]name.  \\[SOURCE-soft, or SOURCE if it ends so already]"
        ),
    ] = None,
    *,
    run: options.RunOptions,
    output: Output,
) -> None:
    """Store the images of a set with one soft label each, from a network that was trained on the real images.

    The source stays as it is; soft labels that it has are replaced in the new set. The test images are never used. The
    same command again prints the stored set, as long as it finds the same pool. See docs/relabelling.md.
    """
    import registry
    from dsactl.expert_pools.fitting import choose_pool, remark_on
    from dsactl.synthetic import bundled

    chosen = Teacher.parse(teacher, epoch, temperature)
    own = None if name is None else check_own_name(registry.parse_name(name))
    store = registry.Store()
    where, source = bundled.find(reference, store)
    pool, which = choose_pool(store, source, experts, chosen)

    from dsactl.engine.device import resolve_device
    from dsactl.engine.session import Session
    from dsactl.synthetic.relabelling import relabel

    session = Session.open(resolve_device(run.device), store)
    if pool is None:
        from dsactl.runs.default_pool import default_pool

        with output.reading() as reading:
            job = default_pool(where, source, chosen, replace(session, progress=reading), own)
        pool = expert_pools.make_missing(job, session.device, run, output)
    with output.progress(f"labelling {source.reference}", 1, "images") as bar:
        made = relabel(where, source, pool, chosen, replace(session, progress=bar), own)
    stored = made.stored
    for remark in remark_on(pool, which):
        output.remark(remark)
    if source.manifest.has_soft_labels and not made.repeated:
        output.remark(f"The soft labels of {source.reference} are replaced in the new set.")
    value = {
        **to_json(stored),
        "source": source.reference,
        "experts": pool.reference,
        "labels": stored.manifest.recipe["labels"],
        "repeated": made.repeated,
    }
    how = "Already stored:" if made.repeated else "Stored"
    line = f"{how} [bold]{stored.reference}[/]  {contents(stored)}{to_train_on(stored)}, labels of {pool.reference}, "
    output.answer(value, [stored.reference], [f"{line}@sha256:{stored.digest[:12]}", *picture_lines(stored)])
    for remark in remarks_on_name(stored, store):
        output.remark(remark)
    output.note(f"Next: dsactl evaluate {stored.reference}")
