"""dsactl rm"""

from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import options
from dsactl.cli.output import Output, bytes_in_words
from dsactl.errors import UsageError

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl rm digits-dsa-convnet-ipc1:2
  dsactl rm digits-random-ipc1 --all-versions --yes
  dsactl rm digits-random-ipc1:1 --dry-run"""


def command(
    references: options.References,
    every: Annotated[bool, typer.Option("--all-versions", help="Of every name that is given without one.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove versions of sets, with the tags that point at them. What was measured on them stays."""
    import registry

    store, output = registry.Store(), Output(as_json=as_json, quiet=quiet)
    sets = list({each.record: each for text in references for each in _meant(store, text, every)}.values())
    removal = store.removal(sets)
    value = {"removed": removal.references, "tags": removal.tags, "bytes": removal.bytes, "dry_run": dry_run}
    what = f"{', '.join(removal.references)} ({bytes_in_words(removal.bytes)})"
    if removal.tags:
        what += f" and the tags {', '.join(removal.tags)}"
    if dry_run:
        output.answer(value, removal.references, [f"Would remove {what}"])
        return
    output.confirm(f"Remove {what}?", yes=yes)
    store.remove(sets)
    output.answer(value, removal.references, [f"Removed {what}"])


def _meant(store: "registry.Store", text: str, every: bool) -> "list[registry.StoredSet]":
    """The versions that a reference means; a bare name must mean one alone."""
    import registry

    reference = registry.parse_reference(text)
    found = store.find(reference)
    if reference.name is None or ":" in text:
        return [found]
    versions = store.versions(reference.name)
    if len(versions) > 1 and not every:
        known = ", ".join(f"{reference.name}:{version}" for version in versions[:5])
        more = "" if len(versions) <= 5 else f" and {len(versions) - 5} more"
        raise UsageError(
            f"{reference.name} has {len(versions)} versions: {known}{more}.",
            "Say which, or remove them all with --all-versions.",
        )
    return [store.read(reference.name, version) for version in versions]
