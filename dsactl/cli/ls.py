"""dsactl ls"""

from dsactl.cli import options
from dsactl.cli.output import Output, bytes_in_words, table

EXAMPLES = """Examples:

  dsactl ls
  dsactl ls --json
  dsactl ls --quiet"""


def command(as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """List the stored sets, oldest first."""
    import registry

    store = registry.Store()
    sets = store.sets()
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
            "evaluations": len(store.evaluations(stored.digest)),
        }
        for stored in sets
    ]
    shown = table("set", "images", "size", "evaluations", "stored", right=("size", "evaluations"))
    for stored, value in zip(sets, values, strict=True):
        images = "×".join(map(str, stored.manifest.tensors["images"].shape))
        when = stored.stored[:16].replace("T", " ")
        shown.add_row(stored.reference, images, bytes_in_words(stored.size), str(value["evaluations"]), when)
    output = Output(as_json=as_json, quiet=quiet)
    output.answer(values, [stored.reference for stored in sets], [shown] if sets else [])
    if not sets and not as_json:
        output.note(f"The store {store.home} is empty. Make a set: dsactl condense digits --ipc 1")
