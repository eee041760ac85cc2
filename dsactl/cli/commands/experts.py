"""The command `dsactl experts`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsactl.augmentation.strategy import KINDS
from dsactl.cli import downloads, expert_pools, options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import contents, to_json
from dsactl.data.load import check_name
from dsactl.expert_pools.recipe import PoolRequest, parse_keep
from dsactl.networks.catalogue import NetworkSpec
from dsactl.synthetic.bundled import check_own_name
from dsactl.text.formatting import about, bytes_in_words, in_words
from dsactl.text.tables import Facts

if TYPE_CHECKING:
    import torch

    from dsactl.expert_pools.make import PoolJob

EXAMPLES = """Examples:

  dsactl experts digits
  dsactl experts cifar10 --dry-run
  dsactl experts cifar10 --keep 0,20,40,60 --ray auto
  dsactl experts mnist --networks 20 --arch convnet --norm batch --seed 1
  dsactl ls --kind experts"""

_USUAL = PoolRequest()


def _dances(option: str, text: str, panel: str | None = None) -> Any:
    """Return an option of the command whose default is that of DANCE's program, which its help says."""
    default = f"{text}  \\[{getattr(_USUAL, option)}, DANCE's]"
    return typer.Option(help=default, show_default=False, rich_help_panel=panel)


def _training(option: str, text: str) -> Any:
    """Return such an option of the training."""
    return _dances(option, text, "Training")


def command(
    dataset: Annotated[str, options.DATASET],
    networks: Annotated[int, _dances("networks", "Number of networks.")] = _USUAL.networks,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="E,E,...",
            help="Epochs after which each network is kept, e.g. 0,20,60; 0 for the initial weights.  "
            "\\[0 and the last, DANCE's]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = _USUAL.seed,
    name: Annotated[
        str | None, typer.Option(help="Name of the pool, as \\[namespace/]name.  \\[DATASET-experts-ARCH]")
    ] = None,
    epochs: Annotated[int, _training("epochs", "Training epochs.")] = _USUAL.epochs,
    batch: Annotated[int, _training("batch", "Images per training batch.")] = _USUAL.batch,
    lr: Annotated[
        float, _training("lr", "Learning rate of SGD; divided by 5 after 2/3 and 5/6 of the epochs.")
    ] = _USUAL.lr,
    momentum: Annotated[float, _training("momentum", "Momentum of SGD.")] = _USUAL.momentum,
    weight_decay: Annotated[float, _training("weight_decay", "Weight decay of SGD.")] = _USUAL.weight_decay,
    strategy: Annotated[
        str,
        _training(
            "strategy",
            f"Kinds of augmentation in training: {', '.join(KINDS)}, or none; flip and color are applied to every "
            "batch, and one of crop, scale and rotate.",
        ),
    ] = _USUAL.strategy,
    cutmix: Annotated[float, _training("cutmix", "Probability of CutMix for a batch.")] = _USUAL.cutmix,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="New training from the start, ignoring checkpoints and a stored pool.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Recipe and estimated time and memory only; nothing is written.")
    ] = False,
    *,
    run: options.RunOptions,
    precision: options.Precision = "auto",
    network: options.NetworkOptions,
    image_size: options.ImageSize = None,
    test_fraction: options.TestFraction = None,
    split_seed: Annotated[
        int, typer.Option(help="Random seed of the test split.", rich_help_panel=options.FOLDERS)
    ] = 0,
    output: Output,
) -> None:
    """Train a pool of networks (experts) on the real training images and store it, for methods that learn from them.

    The test images are never used. A pool of the same recipe that is in the store is looked up, and an interrupted one
    is continued. docs/experts.md describes what a pool is for and what it costs.
    """
    import registry

    given: dict[str, Any] = {
        "network": network.spec() or NetworkSpec(),
        "networks": networks,
        "epochs": epochs,
        "keep": None if keep is None else parse_keep(keep),
        "batch": batch,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "strategy": strategy,
        "cutmix": cutmix,
        "seed": seed,
        "precision": precision,
    }
    request = PoolRequest.parse(given)
    own = None if name is None else check_own_name(registry.parse_name(name))
    folder: dict[str, Any] = {"image_size": image_size, "test_fraction": test_fraction, "split_seed": split_seed}
    check_name(dataset, **folder)
    if dry_run:
        downloads.check([dataset])

    from dsactl.data.load import load_dataset
    from dsactl.engine.device import resolve_device
    from dsactl.engine.native import compiler_remark
    from dsactl.expert_pools.make import prepare

    device = resolve_device(run.device)
    for remark in compiler_remark(device):
        output.remark(remark)
    with output.reading() as reading:
        real = load_dataset(dataset, **folder, progress=reading)
    job = prepare(request, real, device, own, folder)
    if dry_run:
        _dry_run(job, device, output)
        return
    made = expert_pools.make(job, device, run, output, fresh=fresh)
    stored = made.stored
    how = "Already stored:" if made.repeated else "Stored"
    line = f"{how} [bold]{stored.reference}[/]  {contents(stored)}, @sha256:{stored.digest[:12]}"
    output.answer({**to_json(stored), "repeated": made.repeated}, [stored.reference], [line])
    output.note(f"Next: dsactl show {stored.reference}")


def _dry_run(job: "PoolJob", device: "torch.device", output: Output) -> None:
    """Print the recipe and its cost, estimated from a few steps; nothing is written."""
    from dsactl.engine.device import describe
    from dsactl.expert_pools.estimate import estimate, in_turn

    cost, recipe = estimate(job, device), job.recipe
    name = str(job.name or recipe.pool_name)
    value = {
        "name": name,
        "recipe": recipe.to_dict(),
        "seconds": cost.seconds,
        "memory": cost.memory,
        "device": describe(device),
    }
    shown = Facts()
    for key, item in recipe.to_dict().items():
        shown.add(key.replace("_", " "), in_words(item))
    shown.add("", "")
    shown.add("device", describe(device))
    shown.add("time", f"{about(cost.seconds)}{in_turn(job)}, estimated from a few steps")
    shown.add("memory", f"about {bytes_in_words(cost.memory)}")
    shown.add("would store", name)
    output.answer(value, [name], [shown])
