"""dsactl evaluate"""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

import registry
from dsactl.cli import options
from dsactl.cli.formatting import accuracy, duration, mean_and_deviation
from dsactl.cli.output import Output
from dsactl.cli.tables import Table
from dsactl.data.load import check_name, check_without_folder
from dsactl.errors import InterruptedRunError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import WHOLE
from dsactl.synthetic import bundled

EXAMPLES = """Examples:

  dsactl evaluate
  dsactl evaluate mnist-dsa-convnet-ipc1 --networks 5
  dsactl evaluate mnist-dsa-convnet-ipc1:2 --arch resnet18
  dsactl evaluate photos --data ~/photos --image-size 64 --json
  dsactl evaluate --method whole mnist --networks 3"""

_FOLDER = "For --data.  \\[as when the set was made]"


def command(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="[REF]",
            help="name, name:version, name:tag or @sha256:…; if not given, the newest set that no study made. A data "
            "set with --method whole.",
            autocompletion=options.complete_reference,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="whole: train on the whole of a data set, the upper bound.", autocompletion=options.one_of(WHOLE)
        ),
    ] = None,
    networks: Annotated[int, typer.Option(help="How many networks, each from scratch.")] = 20,
    epochs: Annotated[
        int | None, typer.Option(help="\\[1000 with augmentation, 300 without; of a whole data set some 10,000 steps]")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Kinds of augmentation, none, or dc: DC's own.  \\[what the set was made for]")
    ] = None,
    seed: Annotated[int, typer.Option(help="The root of every draw.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured already.")] = False,
    device: options.Device = "auto",
    ray: options.Ray = "off",
    gpu_share: options.GpuShare = 1.0,
    precision: options.Precision = "auto",
    arch: options.Arch = None,
    depth: options.Depth = None,
    width: options.Width = None,
    norm: options.Norm = None,
    activation: options.Activation = None,
    pooling: options.Pooling = None,
    data: Annotated[
        Path | None, typer.Option(help="The image folder, for a set of a folder that was condensed elsewhere.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help=_FOLDER)] = None,
    test_fraction: Annotated[float | None, typer.Option(help=_FOLDER)] = None,
    split_seed: Annotated[int | None, typer.Option(help=_FOLDER)] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train networks on a set from scratch, test each once on the real test images, and keep the result.

    The default network is the one the set was condensed on; with batch norm, its twin with instance norm.
    """
    output = Output(as_json=as_json, quiet=quiet)
    variants = (depth, width, norm, activation, pooling)
    chosen = NetworkSpec(arch or "convnet", *variants) if arch or any(v is not None for v in variants) else None

    protocol = Protocol(chosen, networks, epochs, strategy=strategy, seed=seed, precision=precision)
    folder = {"image_size": image_size, "test_fraction": test_fraction}
    if split_seed is not None:
        folder["split_seed"] = split_seed
    if method is not None:
        check_name(_dataset(method, reference, data), **folder)  # type: ignore[arg-type]
    else:
        if reference is not None:
            bundled.find(reference, registry.Store())
        if data is not None:
            check_name(str(data))
        else:
            check_without_folder(**folder)

    from dsactl.api import evaluate, evaluate_whole
    from dsactl.engine.device import resolve_device
    from dsactl.engine.native import remark_on_speed
    from dsactl.engine.on_ray import workers

    for remark in remark_on_speed(resolve_device(device)):
        output.remark(remark)
    kept = 0

    def keeping(count: int) -> None:
        nonlocal kept
        kept = count

    what = reference or "the newest set" if method is None else f"the whole of {_dataset(method, reference, data)}"
    with (
        contextlib.closing(workers(ray, device, gpu_share)) as who,
        output.progress(f"evaluating {what}", networks, "networks") as bar,
    ):

        def report(done: float) -> None:
            bar.update(done, f"{kept} finished and kept")

        try:
            how: dict[str, Any] = {**folder, "device": device, "fresh": fresh, "report": report, "keeping": keeping}
            how["workers"] = who
            if method is None:
                result = evaluate(reference, protocol, data=data, **how)
            else:
                result = evaluate_whole(_dataset(method, reference, data), protocol, **how)
        except KeyboardInterrupt:
            if not kept:
                raise InterruptedRunError(
                    "Interrupted before a network was finished; nothing is kept.",
                    "Small networks are trained side by side, and finished together.",
                ) from None
            again = "without --fresh goes" if fresh else "goes"
            raise InterruptedRunError(
                f"Interrupted; {kept} of {networks} networks are finished and kept.",
                f"The same command {again} on from there.",
            ) from None
    columns = ("set", "tested on", "accuracy %", "n", "paper %")
    shown = Table(columns, right=("accuracy %", "n", "paper %"))
    paper = mean_and_deviation(*result.paper) if result.paper else "–"
    record = result.to_dict()
    shown.add(result.reference, result.network, accuracy(record), str(result.n), paper)
    output.answer(record, [result.reference], [shown])
    output.remark(
        f"{result.epochs} epochs, augmentation {result.augmentation}, {duration(result.seconds)} on {result.device}; "
        "mean ± population standard deviation over networks."
    )
    if result.twin:
        output.remark(f"It was condensed with batch norm and is evaluated on {result.network}.")
    done = "Measured before; --fresh measures it again." if result.repeated else "Recorded."
    output.note(f"{done} The same command shows it." if method else f"{done} Next: dsactl show {result.reference}")


def _dataset(method: str, reference: str | None, data: Path | None) -> str:
    """The data set that is meant where there is no set to evaluate.

    Raises:
        UsageError: there is none, or the method is not "whole".
    """
    if method != WHOLE:
        raise UsageError(
            f"--method {method} is for condense; evaluate has --method {WHOLE} alone.",
            "Make a set first: dsactl condense DATASET --method …",
        )
    if reference is None and data is None:
        raise UsageError("Which data set?", "For example: dsactl evaluate --method whole digits")
    if reference is not None and data is not None:
        raise UsageError(f"Which data set: {reference}, or {data}?", "Leave one of them out.")
    return str(data) if reference is None else reference
