"""The command `dsactl prune`."""

from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.text.formatting import bytes_in_words

EXAMPLES = """Examples:

  dsactl prune --dry-run
  dsactl prune --yes"""


def command(
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    *,
    output: Output,
) -> None:
    """Delete unreferenced files, left by killed processes or removed sets."""
    import registry
    from registry.upkeep import leftovers, prune

    store = registry.Store()
    found = leftovers(store)
    size = sum(path.stat().st_size for path in found if path.exists())
    what = f"{len(found)} {'file' if len(found) == 1 else 'files'} ({bytes_in_words(size)})"
    if found and not dry_run:
        output.confirm(f"Delete {what} without references from {escape(str(store.home))}?", yes=yes)
        found = prune(store)
    value = {"removed": [str(path) for path in found], "bytes": size, "dry_run": dry_run}
    summary = "No unreferenced files" if not found else f"Would delete {what}" if dry_run else f"Deleted {what}"
    output.answer(value, [str(path) for path in found], [*(escape(str(path)) for path in found), summary])
