"""Options of the experiment commands."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dsactl.cli import options

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Dataset name (list: dsactl datasets) or image folder.",
        autocompletion=options.complete_dataset,
    ),
]
Sets = Annotated[
    int, typer.Option(min=1, help="Number of sets per cell of the table, with derived seeds; 5 in the paper.")
]
Networks = Annotated[int, typer.Option(min=1, help="Number of networks tested on each set; 20 in the paper.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]
ImageSize = Annotated[
    int | None, typer.Option(help="Side in pixels to which images of a folder are resized and cropped.")
]


@dataclass(frozen=True)
class CellOptions:
    """How the sets of a cell are made, and how networks are tested on them."""

    sets: Sets = 1
    networks: Networks = 20
    iterations: Annotated[int | None, typer.Option(help="Number of outer iterations, K.  \\[1000]")] = None
    epochs: Annotated[
        int | None,
        typer.Option(help="Training epochs of the tested networks.  \\[1000 with augmentation, 300 without]"),
    ] = None
    seed: Seed = 0
    image_size: ImageSize = None


@dataclass(frozen=True)
class StudyOptions(options.RunOptions):
    """Where tasks run, and where a study's results go."""

    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results folder.  \\[named after the study, in the current folder]"),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and estimated cost only; nothing is written.")] = (
        False
    )


BY_RAY = StudyOptions(ray="auto")
"""Defaults of studies whose tasks run in parallel where Ray is installed."""
