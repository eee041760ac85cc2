"""The command `dsactl page`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.text.formatting import bytes_in_words

EXAMPLES = """Examples:

  dsactl page digits-dsa-convnet-ipc1
  dsactl page bundled/mnist-dsa-convnet-ipc1 --neighbours --open
  dsactl page digits-dsa-convnet-ipc1 digits-random-ipc1 -o both.html
  dsactl page --force"""


def command(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF",
            help="Sets or pools of experts: name, name:version, name:tag or @sha256:…  \\[all that there are]",
            autocompletion=options.complete_reference,
        ),
    ] = None,
    output_path: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write.  \\[NAME-vVERSION.html, comparison.html for several, registry.html for none, in the "
            "current folder]",
            metavar="FILE.html",
        ),
    ] = None,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Nearest real training image, in pixel space, beside each image.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Image folder with the training images for --neighbours, if it was moved.", metavar="FOLDER"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replacement of an existing file.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Display of the page in the browser.")] = False,
    *,
    output: Output,
) -> None:
    """Write a page about a set, several sets side by side, pools of experts, or the whole registry.

    It is one HTML file that fetches nothing: images, accuracies beside the paper's and those of baselines, recipe,
    curves of the run, and how to use it. Damaged sets are named; the exit code is then 1.
    """
    from dsactl.pages.page import page

    with output.reading("sets") as bar:
        written = page(
            *references or (), output=output_path, neighbours=neighbours, data=data, force=force, progress=bar
        )
    value = {
        "path": str(written.path.absolute()),
        "bytes": written.size,
        "references": list(written.references),
    }
    for fault in written.faults:
        output.error(fault.message, fault.hint)
    path = str(written.path)
    output.answer(value, [path], [f"Wrote [bold]{escape(path)}[/] ({bytes_in_words(written.size)})"])
    if open_ and not webbrowser.open(written.path.absolute().as_uri()):
        output.note("No browser was found. Open the file in one.")
    if written.faults:
        raise typer.Exit(1)
