"""The command `dsactl datasets`."""

import shlex
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli.output import Output
from dsactl.data.catalogue import CATALOGUE, data_root, entry_of, missing_files
from dsactl.errors import UsageError
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl datasets
  dsactl datasets ~/photos
  DSACTL_DATA=/data dsactl datasets --json"""


def command(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER", help="Image folder, whose classes and sizes of images are listed instead."),
    ] = None,
    *,
    output: Output,
) -> None:
    """List the named datasets and whether they are on this machine, or what an image folder has."""
    if folder is None:
        _list_names(output)
    else:
        _describe_folder(folder, output)


def _list_names(output: Output) -> None:
    values = []
    columns = ("name", "title", "train", "test", "images", "classes", "available")
    shown = Table(columns, right=("train", "test", "classes"), optional=("title",))
    for name, entry in CATALOGUE.items():
        here = not missing_files(name)
        shape = (entry.channels, *entry.size)
        values.append(
            {
                "name": name,
                "title": entry.title,
                "train": entry.train,
                "test": entry.test,
                "shape": shape,
                "classes": entry.classes,
                "here": here,
            }
        )
        shown.add(
            name,
            entry.title,
            f"{entry.train:,}",
            f"{entry.test:,}",
            "×".join(map(str, shape)),
            str(entry.classes),
            "yes" if here else "no",
        )
    output.answer(values, list(CATALOGUE), [shown])
    if not output.as_json:
        output.note(
            f"[dim]Data folder: {data_root()} (DSACTL_DATA). Missing datasets are downloaded on first use.\n"
            "An image folder with one sub-folder per class can be used in place of a name: dsactl datasets FOLDER[/]"
        )


def _describe_folder(folder: str, output: Output) -> None:
    from dsactl.data.contents import read_contents
    from dsactl.data.paths import expand, is_folder

    if entry_of(folder) is not None and not is_folder(folder):  # every command takes it for the name
        raise UsageError(
            f"{folder!r} is the name of a dataset.", f"Named ones: `datasets()`. A folder of that name is ./{folder}"
        )
    with output.reading() as progress:
        found = read_contents(expand(folder), progress)
    test = found.test
    shown = Table(
        ("class", "images") if test is None else ("class", "train", "test"), right=("images", "train", "test")
    )
    for name, count in found.train.items():
        shown.add(name, f"{count:,}", *([] if test is None else [f"{test[name]:,}"]))
    shortest, longest = found.sides
    value = {
        "classes": [{"name": name, "train": found.train[name], "test": test and test[name]} for name in found.train],
        "size": found.size,
        "sides": (shortest, longest),
        "channels": found.channels,
    }
    colour = "in colour" if found.channels == 3 else "grey"
    size = (
        f"of {shortest} to {longest} pixels a side"
        if found.size is None
        else f"of {found.size[0]}×{found.size[1]} pixels"
    )
    output.answer(value, list(found.train), [shown, f"{len(found.headers):,} images {size}, {colour}"])
    if output.as_json:
        return
    for note in found.notes:
        output.remark(note)
    if test is None:
        output.remark("There is no test folder: a fifth of every class is held out for testing (`test_fraction`).")
    resized = " --image-size 32" if found.needs_image_size else ""
    output.note(f"Next: dsactl condense {escape(shlex.quote(folder))}{resized} --ipc 1 --dry-run")
