"""The command `dsactl import`."""

from pathlib import Path
from typing import Annotated

import typer

import registry
from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import contents, next_command, picture_lines, remarks_on_name, to_json
from dsactl.synthetic.importing.source import Source
from registry.importing import check_file

EXAMPLES = """Examples:

  dsactl import digits.safetensors
  dsactl import res_DSA_CIFAR10_ConvNet_10ipc.pt
  dsactl import data.pt --dataset cifar10 --space pixels --formation 2
  dsactl import images.pt --labels labels.pt --dataset cifar10 --method mtt
  dsactl import pictures/ --dataset mnist --name mine"""


def command(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="File of dsactl export; .pt, .npz, .npy, safetensors or parquet file (parquet needs the extra hub); "
            "or folder with CLASS/*.png.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset that was condensed, as name or image folder.  \\[as stated by dsactl's own files and by the "
            "authors' file names; required for others]",
            autocompletion=options.complete_dataset,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the set.  \\[DATASET-METHOD-ipcN]")] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Values of the images in a file: normalised, pixels (0…1), or zca (whitened as by MTT).  "
            "\\[normalised; pixels for 8-bit values]",
            autocompletion=options.one_of("normalised", "pixels", "zca"),
        ),
    ] = None,
    experiment: Annotated[
        int | None, typer.Option(help="Index of the experiment in the file, from 0.  \\[all, one version each]")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="File with the labels, if they are not with the images.")] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="Labels that are logits; their softmax are the soft labels.")
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Place of the channels, first or last, for images whose shape fits both.  \\[as the shape says]",
            autocompletion=options.one_of("first", "last"),
        ),
    ] = None,
    formation: Annotated[
        int | None,
        typer.Option(
            metavar="F",
            help="Number of smaller images along each side of an image (IDC's factor).  \\[as the file says, else 1]",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Kinds of augmentation for training, or none.  \\[the dataset's; none for DC]"),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Name of the method that made the set.  \\[imported]")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the images of an image folder in pixels, as in condense.")
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of an image folder held out for testing, as in condense.")
    ] = None,
    split_seed: Annotated[
        int, typer.Option(help="Random seed of the test split of an image folder, as in condense.")
    ] = 0,
    *,
    output: Output,
) -> None:
    """Import a set that was made by another program or on another machine, or an exported pool of experts."""
    source = Source(
        dataset=dataset,
        name=name,
        space=space,
        experiment=experiment,
        labels=labels,
        logits=logits,
        channels=channels,
        formation=formation,
        strategy=strategy,
        method=method,
        image_size=image_size,
        test_fraction=test_fraction,
        split_seed=split_seed,
    )
    if not path.is_dir():
        check_file(path)

    from dsactl.cli.progress import Bar
    from dsactl.synthetic.importing.sets import import_sets

    sets = import_sets(path, source, registry.Store(), Bar(output.error, output.remark))
    lines = []
    for stored in sets:
        lines.append(f"Stored [bold]{stored.reference}[/]  {contents(stored)}, @sha256:{stored.digest[:12]}")
        lines += picture_lines(stored)
    output.answer([to_json(stored) for stored in sets], [stored.reference for stored in sets], lines)
    for remark in remarks_on_name(sets[0], registry.Store()):
        output.remark(remark)
    output.note(f"Next: {next_command(sets[-1])}")
