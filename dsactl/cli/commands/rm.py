"""The command `dsactl rm`."""

from typing import TYPE_CHECKING, Annotated

import typer

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.errors import UsageError
from dsactl.text.formatting import bytes_in_words

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl rm digits-dsa-convnet-ipc1:2
  dsactl rm digits-random-ipc1 --all-versions --yes
  dsactl rm digits-random-ipc1:1 --dry-run"""


def command(
    references: options.References,
    every: Annotated[bool, typer.Option("--all-versions", help="All versions of a name or digest.")] = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    *,
    output: Output,
) -> None:
    """Remove versions of sets or pools of experts, and their tags. Evaluations are kept."""
    import registry

    store = registry.Store()
    places = list(dict.fromkeys(place for text in references for place in _versions_of(store, text, every)))
    removal = store.removal(places)
    value = {"removed": removal.references, "tags": removal.tags, "bytes": removal.bytes, "dry_run": dry_run}
    what = f"{', '.join(removal.references)} ({bytes_in_words(removal.bytes)})"
    if removal.tags:
        what += f" and the {'tag' if len(removal.tags) == 1 else 'tags'} {', '.join(removal.tags)}"
    if dry_run:
        output.answer(value, removal.references, [f"Would remove {what}"])
        return
    output.confirm(f"Remove {what}?", yes=yes)
    store.remove(places)
    output.answer(value, removal.references, [f"Removed {what}"])


def _versions_of(store: "registry.Store", text: str, every: bool) -> "list[registry.Place]":
    """Return the versions of a reference, damaged ones included.

    Raises:
        UsageError: a bare name or digest has several versions, and `every` is false.
    """
    import registry
    from dsactl.synthetic import bundled

    reference = registry.parse_reference(text)
    if reference.name is None:
        bundled.own(text, store)
        places = [stored.place for stored in store.with_digest(str(reference.digest))]
    elif reference.version in store.versions(reference.name):
        return [(reference.name, reference.version)]
    elif ":" in text:
        return [bundled.own(text, store).place]
    else:
        places = [(reference.name, version) for version in store.versions(reference.name)]
        if not places:
            bundled.own(text, store)
    if len(places) > 1 and not every:
        known = ", ".join(f"{name}:{version}" for name, version in places[:5])
        more = "" if len(places) <= 5 else f" and {len(places) - 5} more"
        raise UsageError(
            f"{text} means {len(places)} versions: {known}{more}.",
            "Name a version, or remove all with --all-versions.",
        )
    return places
