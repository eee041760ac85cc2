"""dsactl tag"""

from typing import Annotated

import typer

from dsactl.cli import options
from dsactl.cli.output import Output, Rows
from dsactl.errors import UsageError

EXAMPLES = """Examples:

  dsactl tag mnist-dsa-convnet-ipc1:2 best
  dsactl tag mnist-dsa-convnet-ipc1
  dsactl evaluate mnist-dsa-convnet-ipc1:best
  dsactl tag mnist-dsa-convnet-ipc1 best --remove"""


def command(
    reference: options.Reference,
    tag: Annotated[str | None, typer.Argument(help="A word of a-z, 0-9, '.', '_' and '-'; none to list them.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away; the version stays.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Let a tag point at a version of a set, wherever it pointed before; or list a name's tags."""
    import registry

    store, output = registry.Store(), Output(as_json=as_json, quiet=quiet)
    stored = store.find(registry.parse_reference(reference))
    if tag is None:
        if remove:
            raise UsageError("--remove needs the tag that is to go.", f"See: dsactl tag {stored.name}")
        tags = store.tags(stored.name)
        shown = Rows(("tag", "version"), right=("version",), rows=[(each, str(at)) for each, at in tags.items()])
        output.answer(tags, [f"{stored.name}:{each}" for each in tags], [shown] if tags else [])
        if not tags and not as_json:
            output.note(f"{stored.name} has no tags. Set one: dsactl tag {stored.reference} TAG")
    elif remove:
        store.untag(stored.name, tag)
        done = f"{stored.name}:{tag}"
        output.answer({"removed": done}, [done], [f"Took away {done}"])
    else:
        store.tag(stored, tag)
        done = f"{stored.name}:{tag}"
        value = {"tag": done, "reference": stored.reference, "digest": stored.digest}
        output.answer(value, [done], [f"{done} is {stored.reference}"])
