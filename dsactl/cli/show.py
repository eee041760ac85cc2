"""dsactl show"""

from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output, accuracy, bytes_in_words, duration, mean_and_deviation, table

EXAMPLES = """Examples:

  dsactl show digits-dsa-convnet-ipc1
  dsactl show mnist-dsa-convnet-ipc1:2 --json"""


def command(reference: options.Reference, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Show how a set was made, where its files are, and what was measured on it."""
    import registry
    from dsactl import bundled

    store = registry.Store()
    _, stored = bundled.find(reference, store)
    manifest, evaluations = stored.manifest, bundled.evaluations(stored, store)
    value = {
        "reference": stored.reference,
        "digest": stored.digest,
        "stored": stored.stored,
        "file": str(stored.file),
        "picture": str(stored.picture) if stored.picture else None,
        "manifest": manifest.model_dump(mode="json"),
        "evaluations": evaluations,
    }
    about = table("", "")
    info = manifest.dataset
    shape = "×".join(map(str, manifest.tensors["images"].shape))
    about.add_row("set", f"[bold]{stored.reference}[/]")
    about.add_row("digest", f"@sha256:{stored.digest}")
    about.add_row("data set", escape(f"{info.name} ({info.split}), {sum(info.counts):,} images"))
    about.add_row("classes", escape(", ".join(info.class_names)))
    about.add_row("images", f"{shape}, normalised by mean {info.mean}, std {info.std}")
    about.add_row("method", escape(manifest.method + (f" on {manifest.network}" if manifest.network else "")))
    for key, item in manifest.recipe.items():
        if key not in ("dataset", "checksum", "method", "network"):
            about.add_row(
                f"  {key.replace('_', ' ')}", escape(" ".join(map(str, item)) if isinstance(item, list) else str(item))
            )
    for key, item in manifest.provenance.items():
        about.add_row(key, escape(duration(item) if key == "seconds" and isinstance(item, float) else str(item)))
    about.add_row("file", escape(f"{stored.file} ({bytes_in_words(stored.size)})"))
    about.add_row("picture", escape(str(stored.picture)))
    results = table(
        "tested on",
        "accuracy %",
        "n",
        "paper %",
        "epochs",
        "augmentation",
        "when",
        right=("accuracy %", "n", "paper %", "epochs"),
    )
    for record in evaluations:
        paper = record.get("paper")
        results.add_row(
            escape(str(record.get("network", "?"))),
            accuracy(record),
            str(record.get("n", "?")),
            mean_and_deviation(*paper) if isinstance(paper, list) and len(paper) == 2 else "–",
            str(record.get("epochs", "?")),
            escape(str(record.get("augmentation", "?"))),
            str(record.get("created", "?"))[:16].replace("T", " "),
        )
    output = Output(as_json=as_json, quiet=quiet)
    output.answer(value, [stored.reference], [about, "", results] if evaluations else [about])
    if not evaluations:
        output.note(f"Not evaluated yet. Next: dsactl evaluate {stored.reference}")
