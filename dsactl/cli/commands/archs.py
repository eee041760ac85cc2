"""The command `dsactl archs`."""

import re
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli.flags import translate
from dsactl.cli.output import Output
from dsactl.errors import NetworkError, UsageError
from dsactl.networks.catalogue import ACTIVATIONS, ARCHITECTURES, NORMS, POOLINGS, NetworkSpec
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl archs
  dsactl archs --images 1x28x28
  dsactl archs --images 3x64x64 --classes 100 --json"""


def command(
    images: Annotated[str, typer.Option(help="Shape of the images: channels × height × width.")] = "3x32x32",
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    *,
    output: Output,
) -> None:
    """List the networks with their numbers of parameters for a shape of images, and the variants of the ConvNet."""
    match = re.fullmatch(r"([1-9]\d{0,3})[x×]([1-9]\d{0,3})[x×]([1-9]\d{0,3})", images)
    if match is None:
        raise UsageError(f"--images {images!r} is not a shape.", "Give channels, height and width, e.g. 3x32x32.")
    channels, height, width = (int(number) for number in match.groups())

    from dsactl.networks.build import structure

    values = []
    shown = Table(("name", "parameters", "description"), right=("parameters",))
    for name, entry in ARCHITECTURES.items():
        count, reason = None, None
        try:
            network = structure(NetworkSpec(name), channels, (height, width), classes)
            count = sum(parameter.numel() for parameter in network.parameters())
        except NetworkError as error:
            reason = translate(error.message)
        values.append({"name": name, "parameters": count, "description": entry.description, "impossible": reason})
        about = entry.description if reason is None else f"impossible: {reason.partition(': ')[2]}"
        shown.add(name, "–" if count is None else f"{count:,}", about)
    variants = (
        "\nVariants of the ConvNet: --depth N  --width N  "
        f"--norm {'|'.join(NORMS)}  --activation {'|'.join(ACTIVATIONS)}  --pooling {'|'.join(POOLINGS)}"
    )
    output.answer(values, list(ARCHITECTURES), [shown, escape(variants)])
