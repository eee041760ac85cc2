"""The command `dsactl tag`."""

from typing import Annotated

import typer

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.errors import UsageError
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl tag digits-dsa-convnet-ipc1:2 best
  dsactl tag digits-dsa-convnet-ipc1
  dsactl evaluate digits-dsa-convnet-ipc1:best
  dsactl tag digits-dsa-convnet-ipc1 best --remove"""


def command(
    reference: options.Reference,
    tag: Annotated[
        str | None,
        typer.Argument(metavar="TAG", help="Tag of a-z, 0-9, '.', '_' and '-'; without it the tags are listed."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Removal of the tag; the version stays.")] = False,
    *,
    output: Output,
) -> None:
    """Set, move or remove a tag of a version of a set or pool, or list the tags of a name."""
    import registry
    from dsactl.synthetic import bundled

    store = registry.Store()
    if remove:
        name = registry.parse_reference(reference).name
        if tag is None or name is None:
            raise UsageError("--remove needs the name and the tag.", "Use: dsactl tag NAME TAG --remove")
        store.untag(name, tag)
        done = f"{name}:{tag}"
        output.answer({"removed": done}, [done], [f"Removed tag {done}"])
        return
    stored = bundled.own(reference, store)
    if tag is None:
        tags = store.tags(stored.name)
        shown = Table(("tag", "version"), right=("version",), rows=[(each, str(at)) for each, at in tags.items()])
        output.answer(tags, [f"{stored.name}:{each}" for each in tags], [shown] if tags else [])
        if not tags and not output.as_json:
            output.note(f"{stored.name} has no tags. Set one: dsactl tag {stored.reference} TAG")
        return
    store.tag(stored, tag)
    done = f"{stored.name}:{tag}"
    value = {"tag": done, "reference": stored.reference, "digest": stored.digest}
    output.answer(value, [done], [f"{done} is {stored.reference}"])
