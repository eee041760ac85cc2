"""The command `dsactl datasets`."""

from dsactl.cli.output import Output
from dsactl.data.catalogue import CATALOGUE, data_root, missing_files
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl datasets
  DSACTL_DATA=/data dsactl datasets --json"""


def command(*, output: Output) -> None:
    """List the named datasets, and whether they are on this machine."""
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
            "An image folder with one sub-folder per class can be used in place of a name.[/]"
        )
