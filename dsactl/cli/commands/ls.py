"""The command `dsactl ls`."""

import fnmatch
import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.errors import UnknownNameError
from dsactl.evaluation.shown import accuracy_in_words, mean_accuracy
from dsactl.text.formatting import bytes_in_words, to_the_minute
from dsactl.text.tables import Table
from registry import collector
from registry.cost import Cost

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl ls
  dsactl ls 'cifar10-*' --ipc 10
  dsactl ls --dataset mnist --sort accuracy --reverse
  dsactl ls --bundled
  dsactl ls --kind experts
  dsactl ls --quiet | xargs -n 1 dsactl evaluate"""

_ORDERS: dict[str, Callable[["registry.Entry"], Any]] = {
    "stored": lambda entry: entry.stored,
    "name": lambda entry: (entry.name, entry.version),
    "size": lambda entry: entry.size,
    "accuracy": mean_accuracy,
}
_FILTERS = "Filters"
_KINDS = ("set", "experts")
_LONGEST_SEED = 6


def _complete_order(incomplete: str) -> list[str]:
    return [order for order in _ORDERS if order.startswith(incomplete)]


def command(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN", help="Name pattern with * and ? (glob).", autocompletion=options.complete_reference
        ),
    ] = "*",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Only sets of this dataset.", autocompletion=options.complete_dataset, rich_help_panel=_FILTERS
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Only sets made by this method.", autocompletion=options.complete_method, rich_help_panel=_FILTERS
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help="Only sets condensed on this network.", autocompletion=options.complete_arch, rich_help_panel=_FILTERS
        ),
    ] = None,
    ipc: Annotated[
        int | None, typer.Option(help="Only sets with this many images per class.", rich_help_panel=_FILTERS)
    ] = None,
    bundled: Annotated[
        bool,
        typer.Option(
            "--bundled", help="Sets that come with dsactl, instead of the stored ones.", rich_help_panel=_FILTERS
        ),
    ] = False,
    kind: Annotated[
        str,
        typer.Option(
            help="Kind of artifacts: set, or experts (pools of networks: dsactl experts).",
            autocompletion=options.one_of(*_KINDS),
            rich_help_panel=_FILTERS,
        ),
    ] = "set",
    sort: Annotated[
        str, typer.Option(help=f"Sort key: {', '.join(_ORDERS)}; ascending.", autocompletion=_complete_order)
    ] = "stored",
    reverse: Annotated[bool, typer.Option("--reverse", help="Descending order.")] = False,
    *,
    output: Output,
) -> None:
    """List the stored sets, or pools of experts, oldest first.

    The accuracy shown is from the set's own network, the paper's protocol and the set's augmentation, with the most
    networks. Without such a result the closest one is shown, with its differences. Damaged sets are named; the exit
    code is then 1.
    """
    import registry
    from dsactl.synthetic import bundled as own

    if sort not in _ORDERS:
        raise UnknownNameError("order", sort, _ORDERS)
    if kind not in _KINDS:
        raise UnknownNameError("kind of artifacts", kind, _KINDS)
    with collector.gc_paused():
        store = registry.Store()
        stored, faults = own.entries(store) if bundled else store.entries()
        entries = [entry for entry in stored if entry.kind == kind]

        def is_wanted(entry: registry.Entry) -> bool:
            return (
                dataset in (None, entry.dataset)
                and method in (None, entry.method)
                and arch in (None, entry.network)
                and (ipc is None or list(entry.shape[:1]) == [ipc * entry.classes])
                and (pattern == "*" or fnmatch.fnmatchcase(str(entry.name), pattern))
            )

        wanted = [entry for entry in entries if is_wanted(entry)]
        if sort != "stored":
            wanted.sort(key=_ORDERS[sort])
        if reverse:
            wanted.reverse()
        for fault in faults:
            output.error(fault.message, fault.hint)
        values = map(_value, wanted) if output.as_json else ()
        table = _table if kind == registry.SET else _table_of_pools
        output.answer(list(values), (entry.reference for entry in wanted), [table(wanted)] if wanted else [])
    if not entries and kind == registry.EXPERTS and not output.as_json:
        output.note("There are no pools of experts. Make one: dsactl experts digits")
    elif not entries and stored and not output.as_json:
        output.note("The store has no sets. List the pools of experts: dsactl ls --kind experts")
    elif not entries and not output.as_json:
        output.note(f"The store {escape(str(store.home))} is empty. Make a set: dsactl condense digits --ipc 1")
        output.note("List the sets that come with dsactl: dsactl ls --bundled")
    elif not wanted and not output.as_json:
        where, more = ("bundled", " --bundled") if bundled else ("in the store", "")
        if kind == registry.EXPERTS:
            more += " --kind experts"
        what = "set" if kind == registry.SET else "pool of experts"
        output.note(f"No {what} matches ({len(entries)} {where}). List all: dsactl ls{more}")
        known = sorted({entry.dataset for entry in entries})
        if dataset is not None and dataset not in known:
            output.note(f"Their datasets: {escape(', '.join(known))}")
    if faults:
        raise typer.Exit(1)


def _value(entry: "registry.Entry") -> dict[str, Any]:
    if entry.networks:
        return {
            "reference": entry.reference,
            "kind": entry.kind,
            "digest": entry.digest,
            "dataset": entry.dataset,
            "network": entry.network,
            "networks": entry.networks,
            "epochs": list(entry.epochs),
            "seed": entry.seed,
            "size": entry.size,
            "stored": entry.stored,
        }
    return {
        "reference": entry.reference,
        "digest": entry.digest,
        "dataset": entry.dataset,
        "method": entry.method,
        "network": entry.network,
        "seed": entry.seed,
        "iterations": entry.iterations,
        "images": entry.shape,
        "labels": "soft" if entry.soft_labels else "hard",
        "cost": asdict(Cost.of_entry(entry)),
        "size": entry.size,
        "stored": entry.stored,
        "evaluations": list(entry.evaluations),
    }


def _table(entries: list["registry.Entry"]) -> Table:
    columns = ("set", "images", "seed", "iterations", "accuracy %", "n", "tested on", "size", "stored")
    shown = Table(
        columns,
        right=("seed", "iterations", "accuracy %", "n", "size"),
        optional=("size", "stored", "seed", "images", "iterations"),
    )
    for entry in entries:
        shown.add(
            entry.reference,
            _shape(tuple(entry.shape)) + (" soft" if entry.soft_labels else ""),
            _seed(entry.seed),
            "–" if entry.iterations is None else str(entry.iterations),
            *accuracy_in_words(entry),
            bytes_in_words(entry.size),
            to_the_minute(entry.stored),
        )
    return shown


def _table_of_pools(entries: list["registry.Entry"]) -> Table:
    columns = ("experts", "networks", "after epochs", "seed", "size", "stored")
    shown = Table(columns, right=("networks", "seed", "size"), optional=("size", "stored", "seed"))
    for entry in entries:
        epochs = ", ".join(map(str, entry.epochs))
        size, when = bytes_in_words(entry.size), to_the_minute(entry.stored)
        shown.add(entry.reference, str(entry.networks), epochs, _seed(entry.seed), size, when)
    return shown


@functools.cache
def _shape(numbers: tuple[int, ...]) -> str:
    return "×".join(map(str, numbers))


def _seed(seed: int) -> str:
    """Format the seed, shortened if it was derived from another set's."""
    text = str(seed)
    return text if len(text) <= _LONGEST_SEED else f"{text[: _LONGEST_SEED - 1]}…"
