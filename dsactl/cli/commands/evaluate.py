"""The command `dsactl evaluate`."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

import registry
from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.study_options import Seed
from dsactl.data.load import check_name, check_no_folder_options
from dsactl.errors import UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.evaluation.shown import training
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic import bundled
from dsactl.text.formatting import accuracy, duration, many, mean_and_deviation
from dsactl.text.tables import Table
from dsactl.training.protocols import NAMED

EXAMPLES = """Examples:

  dsactl evaluate
  dsactl evaluate mnist-dsa-convnet-ipc1 --networks 5
  dsactl evaluate mnist-dsa-convnet-ipc1:2 --arch resnet18
  dsactl evaluate mnist-dsa-convnet-ipc1 --protocol idc
  dsactl evaluate mnist-dsa-convnet-ipc1 --against --networks 10
  dsactl evaluate photos --data ~/photos --image-size 64 --json
  dsactl evaluate --method whole mnist --networks 3"""

_AS_CONDENSED = "  \\[as for condensing]"


def command(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="REF",
            help=f"{options.SET_HELP}; with --method whole, a dataset.  \\[newest set not made by an experiment]",
            autocompletion=options.complete_reference,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Method whole: training on the whole dataset, the upper bound.", autocompletion=options.one_of(WHOLE)
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Published protocol of training: dsa, dc, idc or mtt.  \\[the one that the set was made for]",
            autocompletion=options.one_of(*NAMED),
        ),
    ] = None,
    networks: Annotated[
        int, typer.Option(help="Number of networks, each trained from scratch; with --against, of each group.")
    ] = 20,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Training epochs.  \\[1000 with augmentation or by idc, 300 without; for a whole dataset about 10,000 "
            "steps]"
        ),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.  \\[the protocol's, 0.01]")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Kinds of augmentation, e.g. color_crop, or none, or dc (the augmentation of DC).  \\[the set's own]"
        ),
    ] = None,
    seed: Seed = 0,
    against: Annotated[
        bool,
        typer.Option(
            "--against",
            help="Comparison with random real images, as many and of as many bytes, by the same protocol.",
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="New evaluation, ignoring cached results.")] = False,
    *,
    run: options.RunOptions,
    precision: options.Precision = "auto",
    network: options.NetworkOptions,
    data: Annotated[
        Path | None, typer.Option(help="Image folder, for a set of a folder that was moved or is on another machine.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help=f"Image side for --data, in pixels.{_AS_CONDENSED}")] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help=f"Share of the images in --data held out for testing.{_AS_CONDENSED}")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help=f"Seed of the test split of --data.{_AS_CONDENSED}")] = None,
    output: Output,
) -> None:
    """Train networks on a set from scratch, test them on the real test images, and store the result.

    The default network is the one used for condensing; if that has batch norm, its variant with instance norm.
    """
    how = Protocol(
        network.spec(), networks, epochs, lr, strategy=strategy, seed=seed, precision=precision, name=protocol
    )
    folder = {"image_size": image_size, "test_fraction": test_fraction}
    if split_seed is not None:
        folder["split_seed"] = split_seed
    if method is not None:
        if against:
            raise UsageError("--against compares a set, not a whole dataset.", "Leave --against or --method out.")
        check_name(_dataset(method, reference, data), **folder)  # type: ignore[arg-type]
    else:
        if reference is not None:
            bundled.find(reference, registry.Store())
        if data is not None:
            check_name(str(data))
        else:
            check_no_folder_options(**folder)

    from dsactl.api import evaluate, evaluate_whole
    from dsactl.cli.comparison import show
    from dsactl.engine.device import resolve_device
    from dsactl.engine.native import compiler_remark
    from dsactl.engine.on_ray import open_executor
    from dsactl.studies.against import compare_with_random

    for remark in compiler_remark(resolve_device(run.device)):
        output.remark(remark)
    what = reference or "the newest set" if method is None else f"the whole of {_dataset(method, reference, data)}"
    with (
        contextlib.closing(open_executor(run.ray, run.device, run.gpu_share)) as executor,
        output.progress(f"evaluating {what}", networks, "networks") as bar,
    ):
        where: dict[str, Any] = {**folder, "device": run.device, "fresh": fresh, "executor": executor, "progress": bar}
        if against:
            comparison = compare_with_random(reference, how, data=data, **where)
            result = comparison.evaluation
        elif method is None:
            result = evaluate(reference, how, data=data, **where)
        else:
            result = evaluate_whole(_dataset(method, reference, data), how, **where)
    record = result.to_dict()
    seconds, repeated = result.seconds, result.repeated
    if against:
        show(comparison, output)
        seconds, repeated = comparison.seconds, comparison.repeated
    else:
        columns = ("set", "tested on", "accuracy %", "n", "paper %")
        shown = Table(columns, right=("accuracy %", "n", "paper %"))
        paper = mean_and_deviation(*result.paper) if result.paper else "–"
        shown.add(result.reference, result.network, accuracy(record), str(result.n), paper)
        output.answer(record, [result.reference], [shown])
    mixed = f", CutMix {result.protocol['cutmix']}" if "cutmix" in result.protocol else ""
    output.remark(
        f"{many(result.epochs, 'epoch')}, augmentation {training(record)}{mixed}, "
        f"{duration(seconds)} on {result.device}; mean ± population standard deviation over networks."
    )
    if result.twin:
        output.remark(f"The set was condensed with batch norm and is evaluated on {result.network}.")
    done = "Cached result; --fresh evaluates again." if repeated else "Result stored."
    output.note(f"{done} The same command prints it." if method else f"{done} Next: dsactl show {result.reference}")


def _dataset(method: str, reference: str | None, data: Path | None) -> str:
    """Return the dataset to evaluate with --method whole.

    Raises:
        UsageError: no dataset or two are given, or the method is not "whole".
    """
    if method != WHOLE:
        raise UsageError(
            f"evaluate only supports --method {WHOLE}, not {method}.",
            f"Condense a set first: dsactl condense DATASET --ipc N --method {method}",
        )
    if reference is None and data is None:
        raise UsageError("Missing dataset.", "For example: dsactl evaluate --method whole digits")
    if reference is not None and data is not None:
        raise UsageError(f"Two datasets: {reference} and --data {data}.", "Leave one of them out.")
    return str(data) if reference is None else reference
