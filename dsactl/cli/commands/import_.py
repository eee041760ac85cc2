"""dsactl import"""

from pathlib import Path
from typing import Annotated

import typer

import registry
from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import picture_lines, to_json
from dsactl.synthetic.importing.source import Source
from registry.importing import check_file

EXAMPLES = """Examples:

  dsactl import digits.safetensors
  dsactl import res_DSA_CIFAR10_ConvNet_10ipc.pt
  dsactl import data.pt --dataset cifar10 --space pixels --method idc
  dsactl import images_best.pt --labels labels_best.pt --dataset cifar10 --method mtt
  dsactl import pictures/ --dataset mnist --name mine"""

_FOLDER = "For a data set that is a folder, as with condense."


def command(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A safetensors file of dsactl, a .pt file, or a folder of CLASS/*.png."),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name or image folder that the set stands for; dsactl's own files and the authors' file names say it.",
            autocompletion=options.complete_dataset,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call it.  \\[DATASET-METHOD-ipcN]")] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="What the images of a .pt file are: normalised, or pixels of 0…1.  \\[normalised]",
            autocompletion=options.one_of("normalised", "pixels"),
        ),
    ] = None,
    experiment: Annotated[
        int | None, typer.Option(help="Which of a file's experiments, from 0.  \\[each a version]")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The .pt file of the labels, where they are not with the images.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Kinds of augmentation to train with, or none.  \\[the data set's; none for DC]"),
    ] = None,
    method: Annotated[str | None, typer.Option(help="How it was made, in a word.  \\[imported]")] = None,
    image_size: Annotated[int | None, typer.Option(help=_FOLDER)] = None,
    test_fraction: Annotated[float | None, typer.Option(help=_FOLDER)] = None,
    split_seed: Annotated[int, typer.Option(help=_FOLDER)] = 0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Store a set that another program or another machine made, so that it can be evaluated here."""
    source = Source(dataset, name, space, experiment, labels, strategy, method, image_size, test_fraction, split_seed)
    if not path.is_dir():
        check_file(path)

    from dsactl.synthetic.importing.sets import import_sets

    sets = import_sets(path, source, registry.Store())
    lines = []
    for stored in sets:
        images = "×".join(map(str, stored.manifest.tensors["images"].shape))
        lines.append(f"Stored [bold]{stored.reference}[/]  {images}, @sha256:{stored.digest[:12]}")
        lines += picture_lines(stored)
    output = Output(as_json=as_json, quiet=quiet)
    output.answer([to_json(stored) for stored in sets], [stored.reference for stored in sets], lines)
    output.note(f"Next: dsactl evaluate {sets[-1].reference}")
