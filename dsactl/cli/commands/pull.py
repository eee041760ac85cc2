"""The command `dsactl pull`."""

from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli.output import Output
from dsactl.cli.stored_set import next_command, renamed
from dsactl.data.catalogue import entry_of
from dsactl.errors import UsageError
from dsactl.text.formatting import many

EXAMPLES = """Examples:

  dsactl pull user/digits-ipc1
  dsactl pull user/digits-ipc1:2 --name digits-of-user
  dsactl pull user/digits-ipc1 --revision main
  HF_HUB_OFFLINE=1 dsactl pull user/digits-ipc1"""


def command(
    address: Annotated[
        str,
        typer.Argument(
            metavar="USER/REPO[:VERSION]", help="Repository on the Hub, or its web address.  \\[newest version]"
        ),
    ],
    revision: Annotated[str | None, typer.Option(help="Tag, branch or commit, instead of a version.")] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the set or pool, as \\[namespace/]name; required if the revision is not a version.  "
            "\\[user/repo in lower case]"
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """Pull a set with its evaluations, or a pool of experts, from the Hugging Face Hub, and verify the checksums.

    Downloads are cached by the Hub client, so earlier pulls are available offline. Needs the extra "hub".
    """
    import registry
    from dsactl.synthetic.bundled import own_name
    from registry import hub

    repo_id, wanted = hub.parse_address(address)
    if wanted is not None and revision is not None:
        raise UsageError(f"Both :{wanted} and --revision {revision} are given.", "Use one of them.")
    hub.configure_client_logging(quiet=output.quiet)
    given = own_name(name, repo_id)
    pulled = hub.pull(registry.Store(), repo_id, wanted or revision, given)
    stored = pulled.stored
    value = {
        "reference": stored.reference,
        "digest": stored.digest,
        "repository": pulled.repo_id,
        "revision": pulled.revision,
        "evaluations": pulled.evaluations,
        "from_cache": pulled.from_cache,
        "was_here": pulled.was_here,
    }
    output.answer(value, [stored.reference], [f"[bold]{stored.reference}[/]  @sha256:{stored.digest}"])
    if pulled.from_cache:
        output.note("The Hub could not be reached; this is a cached copy, and a newer version may exist.")
    if pulled.repo_id != repo_id:
        output.note(renamed(repo_id, pulled.repo_id))
    new = f" with {many(pulled.evaluations, 'new result')}" if pulled.evaluations else ""
    done = "verified; it was already stored" if pulled.was_here else "verified and stored"
    output.note(f"Pulled from {pulled.repo_id} at {escape(pulled.revision)}{new}: {done}.")
    data = "" if entry_of(stored.manifest.dataset.name) else " --data FOLDER"
    output.note(f"Next: {next_command(stored, data)}")
