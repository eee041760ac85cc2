"""The command `dsactl export`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.stored_set import decoder
from dsactl.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    import registry

PT = "pt"
EXAMPLES = """Examples:

  dsactl export digits-dsa-convnet-ipc1 --output digits.npz
  dsactl export mnist-dsa-convnet-ipc1 --format png
  dsactl export mnist-dsa-convnet-ipc1 --output mnist.pt
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
            help="Format: safetensors (the stored file), npz (numpy), pt (torch.save, as DC and DSA read it), png (one "
            "picture), folder (CLASS/000.png) or parquet (needs the extra hub).  \\[by the extension of --output, else "
            "safetensors]",
            autocompletion=options.one_of("safetensors", "npz", "pt", "png", "folder", "parquet"),
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Values in npz: normalised (float32 N×C×H×W as stored) or pixels (8-bit N×H×W×C, clipped to 0…1). "
            "safetensors and pt are always normalised, pictures are always pixels.  \\[normalised]",
            autocompletion=options.one_of("normalised", "pixels"),
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replacement of an existing file or folder.")] = False,
    *,
    output: Output,
) -> None:
    """Export a set as a file or folder for other programs; a pool of experts as safetensors only."""
    import registry
    from dsactl.synthetic import bundled
    from registry.export import default_name, export, require_packages

    if str(output_path) == "-":
        raise UsageError("A set is exported to a file or folder, not to standard output.", "Give a name with --output.")
    form = _form(form, output_path)
    _check_space(form, space)
    require_packages(form)
    store, stored = bundled.find(reference, registry.Store())
    path = output_path or Path(default_name(stored, form))
    if output_path is not None and form != "folder" and output_path.is_dir():
        path = output_path / default_name(stored, form)
    shown = decoder(stored)
    if form == PT:
        from dsactl.synthetic.exporting import export_pt

        exported = export_pt(store, stored, path, force=force)
    else:
        exported = export(store, stored, path, form, space=space, force=force, shown=shown)
    value = {
        "reference": stored.reference,
        "path": str(path.absolute()),
        "format": form,
        "clipped": exported.clipped,
        "values": exported.values,
    }
    output.answer(value, [str(path)], [f"Wrote [bold]{escape(str(path))}[/]"])
    if shown is not None:
        output.note(_on_tiles(stored, exported.values))
    if exported.lost:
        output.note(
            "The soft labels are not exported, as pictures only have a class. safetensors, npz, pt and parquet keep "
            "them."
        )
    if exported.clipped:
        share = 100 * exported.clipped / exported.values
        output.note(
            f"{exported.clipped:,} of {exported.values:,} pixel values ({share:.1f} %) were outside 0…1 and "
            "clipped. For exact values use --format safetensors, npz or pt."
        )


def _form(form: str | None, path: Path | None) -> str:
    """Return the given format, or the one of the path's extension.

    Raises:
        UsageError: the extension is unknown, or that of another format than the given one.
        UnknownNameError: the format is unknown.
    """
    formats = _formats()
    ending = "" if path is None else path.suffix.removeprefix(".").lower()
    if form is None:
        if ending in formats and ending != "folder":
            return ending
        if ending or (path is not None and not path.is_dir()):
            what = f"Unknown file extension: .{ending}" if ending else f"{path} has no file extension"
            raise UsageError(f"{what}.", f"Add --format with one of {', '.join(formats)}.")
        return "safetensors"
    if form not in formats:
        raise UnknownNameError("format", form, formats)
    if ending in formats and ending not in (form, "folder") and path is not None and not path.is_dir():
        raise UsageError(
            f"{path} has the extension of {ending}, and --format is {form}.",
            f"Leave --format out to write {ending}, or give another --output.",
        )
    return form


def _on_tiles(stored: "registry.StoredSet", values: int) -> str:
    """Return a note on an export of a set with several images in each stored one.

    Args:
        stored: the set.
        values: number of pixel values in the export.
    """
    count, *shape = stored.manifest.tensors["images"].shape
    images = values // math.prod(shape)
    if images == count:
        return (
            f"Each of the {count} images holds smaller ones. --format folder, parquet and png export those, enlarged."
        )
    return f"The {images} images of the set are exported, decoded from the {count} that are stored."


def _formats() -> dict[str, tuple[str, ...]]:
    """Return the formats and the spaces of images in each, the default first."""
    from registry.export import FORMATS

    return {**FORMATS, PT: ("normalised",)}


def _check_space(form: str, space: str | None) -> None:
    formats = _formats()
    known = sorted({word for spaces in formats.values() for word in spaces})
    if space is not None and space not in known:
        raise UnknownNameError("space", space, known)
    if space is not None and space not in formats[form]:
        other = "8-bit pictures, which are pixels" if formats[form] == ("pixels",) else "numbers that are normalised"
        raise UsageError(f"--format {form} writes {other}.", "Leave --space out, or use --format npz.")
