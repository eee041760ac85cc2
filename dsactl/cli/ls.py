"""dsactl ls"""

from typing import Annotated, Any

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output, accuracy, bytes_in_words, table

EXAMPLES = """Examples:

  dsactl ls
  dsactl ls --bundled
  dsactl ls --json
  dsactl ls --quiet"""


def command(
    bundled: Annotated[bool, typer.Option("--bundled", help="The sets that come with dsactl instead.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the stored sets, oldest first."""
    import registry
    from dsactl import bundled as own

    store = own.bundled() if bundled else registry.Store()
    sets, faults = store.scan()
    values = [
        {
            "reference": stored.reference,
            "digest": stored.digest,
            "dataset": stored.manifest.dataset.name,
            "method": stored.manifest.method,
            "network": stored.manifest.network,
            "images": stored.manifest.tensors["images"].shape,
            "size": stored.size,
            "stored": stored.stored,
            "evaluations": own.evaluations(stored, registry.Store()),
        }
        for stored in sets
    ]
    shown = table("set", "images", "size", "accuracy %", "n", "tested on", "stored", right=("size", "accuracy %", "n"))
    for stored, value in zip(sets, values, strict=True):
        images = "×".join(map(str, stored.manifest.tensors["images"].shape))
        when = stored.stored[:16].replace("T", " ")
        last = _last(value["evaluations"])
        shown.add_row(stored.reference, images, bytes_in_words(stored.size), *last, when)
    output = Output(as_json=as_json, quiet=quiet)
    for fault in faults:
        output.error(fault.message, fault.hint)
    output.answer(values, [stored.reference for stored in sets], [shown] if sets else [])
    if not sets and not as_json:
        output.note(f"The store {store.home} is empty. Make a set: dsactl condense digits --ipc 1")
        output.note("Sets that come with dsactl: dsactl ls --bundled")


def _last(evaluations: Any) -> tuple[str, str, str]:
    """Accuracy, n and network of the newest evaluation."""
    if not evaluations:
        return "–", "", ""
    last = evaluations[-1]
    return accuracy(last), str(last.get("n", "?")), escape(str(last.get("network", "?")))
