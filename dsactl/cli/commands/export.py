"""The command `dsactl export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.errors import UnknownNameError, UsageError

EXAMPLES = """Examples:

  dsactl export digits-dsa-convnet-ipc1 --output digits.npz
  dsactl export mnist-dsa-convnet-ipc1 --format png
  dsactl export mnist-dsa-convnet-ipc1:2 --format folder --output mnist
  dsactl export mnist-dsa-convnet-ipc1 --format npz --space pixels --force"""


def command(
    reference: options.Reference,
    output_path: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File or folder to write.  \\[NAME-vVERSION.FORMAT in the current folder]",
            metavar="PATH",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="Format: safetensors (the stored file), npz (numpy), png (one picture), folder (CLASS/000.png) or "
            "parquet (needs the extra hub).  \\[by the extension of --output, else safetensors]",
            autocompletion=options.one_of("safetensors", "npz", "png", "folder", "parquet"),
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Values in npz: normalised (float32 N×C×H×W as stored) or pixels (8-bit N×H×W×C, clipped to 0…1). "
            "safetensors is always normalised, pictures are always pixels.  \\[normalised]",
            autocompletion=options.one_of("normalised", "pixels"),
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replacement of an existing file or folder.")] = False,
    *,
    output: Output,
) -> None:
    """Export a set as a file or folder for other programs."""
    import registry
    from dsactl.synthetic import bundled
    from registry.export import default_name, export, require_packages

    if output_path == Path("-"):
        raise UsageError("--output - would be a file of that name.", "Name a file; sets are not written to a pipe.")
    form = _form(form, output_path)
    _check_space(form, space)
    require_packages(form)
    store, stored = bundled.find(reference, registry.Store())
    path = output_path or Path(default_name(stored, form))
    if output_path is not None and form != "folder" and output_path.is_dir():
        path = output_path / default_name(stored, form)
    exported = export(store, stored, path, form, space=space, force=force)
    value = {
        "reference": stored.reference,
        "path": str(path.absolute()),
        "format": form,
        "clipped": exported.clipped,
        "values": exported.values,
    }
    output.answer(value, [str(path)], [f"Wrote [bold]{escape(str(path))}[/]"])
    if exported.lost:
        output.note(
            "The soft labels are not exported, as pictures only have a class. safetensors, npz and parquet keep them."
        )
    if exported.clipped:
        share = 100 * exported.clipped / exported.values
        output.note(
            f"{exported.clipped:,} of {exported.values:,} pixel values ({share:.1f} %) were outside 0…1 and "
            "clipped. For exact values use --format safetensors or npz."
        )


def _form(form: str | None, path: Path | None) -> str:
    """Return the given format, or the one of the path's extension.

    Raises:
        UsageError: the extension is unknown.
        UnknownNameError: the format is unknown.
    """
    from registry.export import FORMATS

    if form is None:
        ending = "" if path is None else path.suffix.removeprefix(".").lower()
        if ending in FORMATS and ending != "folder":
            return ending
        if ending or (path is not None and not path.is_dir()):
            what = f"Unknown file extension: .{ending}" if ending else f"{path} has no file extension"
            raise UsageError(f"{what}.", f"Add --format with one of {', '.join(FORMATS)}.")
        return "safetensors"
    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    return form


def _check_space(form: str, space: str | None) -> None:
    from registry.export import FORMATS

    known = sorted({word for spaces in FORMATS.values() for word in spaces})
    if space is not None and space not in known:
        raise UnknownNameError("space", space, known)
    if space is not None and space not in FORMATS[form]:
        other = "the stored file, which is normalised" if form == "safetensors" else "8-bit pictures, which are pixels"
        raise UsageError(f"--format {form} writes {other}.", "Leave --space out, or use --format npz.")
