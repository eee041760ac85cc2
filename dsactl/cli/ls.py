"""dsactl ls"""

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output, Rows, accuracy, bytes_in_words
from dsactl.errors import UnknownNameError

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl ls
  dsactl ls 'cifar10-*' --ipc 10
  dsactl ls --dataset mnist --sort accuracy --reverse
  dsactl ls --bundled
  dsactl ls --quiet | xargs -n 1 dsactl evaluate"""

_ORDERS: dict[str, Callable[["registry.Entry"], Any]] = {
    "stored": lambda entry: entry.stored,
    "name": lambda entry: (entry.name, entry.version),
    "size": lambda entry: entry.size,
    "accuracy": lambda entry: _mean(entry),
}
_FILTERS = "Which"


def _complete_order(incomplete: str) -> list[str]:
    return [order for order in _ORDERS if order.startswith(incomplete)]


def command(
    pattern: Annotated[
        str, typer.Argument(help="Of the names: * for anything.", autocompletion=options.complete_reference)
    ] = "*",
    dataset: Annotated[
        str | None,
        typer.Option(help="Of this data set.", autocompletion=options.complete_dataset, rich_help_panel=_FILTERS),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Made by this method.", rich_help_panel=_FILTERS)] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Made on this network.", autocompletion=options.complete_arch, rich_help_panel=_FILTERS),
    ] = None,
    ipc: Annotated[int | None, typer.Option(help="Of so many images per class.", rich_help_panel=_FILTERS)] = None,
    bundled: Annotated[
        bool, typer.Option("--bundled", help="The sets that come with dsactl instead.", rich_help_panel=_FILTERS)
    ] = False,
    sort: Annotated[
        str, typer.Option(help=f"By {', '.join(_ORDERS)}, smallest first.", autocompletion=_complete_order)
    ] = "stored",
    reverse: Annotated[bool, typer.Option("--reverse", help="Largest first.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the stored sets, oldest first."""
    import registry
    from dsactl import bundled as own

    if sort not in _ORDERS:
        raise UnknownNameError("order", sort, _ORDERS)
    store = registry.Store()
    entries, faults = own.entries(store) if bundled else store.entries()

    def is_wanted(entry: registry.Entry) -> bool:
        return (
            dataset in (None, entry.dataset)
            and method in (None, entry.method)
            and arch in (None, entry.network)
            and (ipc is None or entry.shape[0] == ipc * entry.classes)
            and (pattern == "*" or fnmatch.fnmatchcase(str(entry.name), pattern))
        )

    wanted = [entry for entry in entries if is_wanted(entry)]
    if sort != "stored":
        wanted.sort(key=_ORDERS[sort])
    if reverse:
        wanted.reverse()
    output = Output(as_json=as_json, quiet=quiet)
    for fault in faults:
        output.error(fault.message, fault.hint)
    values = map(_value, wanted) if as_json else ()
    output.answer(list(values), (entry.reference for entry in wanted), [_table(wanted)] if wanted else [])
    if not entries and not as_json:
        output.note(f"The store {escape(str(store.home))} is empty. Make a set: dsactl condense digits --ipc 1")
        output.note("Sets that come with dsactl: dsactl ls --bundled")
    elif not wanted and not as_json:
        output.note(f"None of the {len(entries)} sets is such a one. All of them: dsactl ls")


def _value(entry: "registry.Entry") -> dict[str, Any]:
    return {
        "reference": entry.reference,
        "digest": entry.digest,
        "dataset": entry.dataset,
        "method": entry.method,
        "network": entry.network,
        "images": entry.shape,
        "size": entry.size,
        "stored": entry.stored,
        "evaluations": list(entry.evaluations),
    }


def _table(entries: list["registry.Entry"]) -> Rows:
    columns = ("set", "images", "size", "accuracy %", "n", "tested on", "stored")
    shown = Rows(columns, right=("size", "accuracy %", "n"))
    for entry in entries:
        when = entry.stored[:16].replace("T", " ")
        images = "×".join(map(str, entry.shape))
        shown.rows.append((entry.reference, images, bytes_in_words(entry.size), *_last(entry), when))
    return shown


def _last(entry: "registry.Entry") -> tuple[str, str, str]:
    """Accuracy, n and network of the newest evaluation."""
    if not entry.evaluations:
        return "–", "", ""
    last = entry.evaluations[-1]
    return accuracy(last), str(last.get("n", "?")), str(last.get("network", "?"))


def _mean(entry: "registry.Entry") -> float:
    """Accuracy of the newest evaluation; below all others where there is none."""
    mean = entry.evaluations[-1].get("mean") if entry.evaluations else None
    return float(mean) if isinstance(mean, int | float) else -1.0
