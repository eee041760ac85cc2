"""dsactl push"""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.formatting import bytes_in_words
from dsactl.cli.output import Output
from dsactl.cli.recipe_to_command import set_command
from dsactl.cli.tables import Table
from dsactl.errors import UsageError
from dsactl.recipes.methods import BUILT_IN, find

EXAMPLES = """Examples:

  dsactl push digits-dsa-convnet-ipc1 user/digits-ipc1 --dry-run
  dsactl push mnist-dsa-convnet-ipc1:2 user/mnist-ipc1 --private
  dsactl push cifar10-dsa-convnet-ipc1 team/cifar10-ipc1 --create-pr --licence mit"""

_DID = {
    "pushed": "Pushed.",
    "tagged": "Its content was there already; only the tag was missing.",
    "proposed": "Proposed. A pull request has no tag: once it is merged, push again without --create-pr to set it.",
    "unchanged": "It was there already; nothing was changed, the card neither.",
}


def command(
    reference: options.Reference,
    repository: Annotated[str, typer.Argument(metavar="USER/REPO", help="A data set repository; made if needed.")],
    private: Annotated[bool, typer.Option("--private", help="Make it visible to its owners only.")] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Propose it as a pull request, which sets no tag.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", metavar="TEXT", help="Of the images, for the card.  \\[not stated]"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder that would be pushed; touch no network.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where --dry-run writes it.  \\[the set's name]")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Push a set to the Hugging Face Hub: a repository that `datasets` reads, a tag per version.

    Pushing the same version again changes nothing; other content under a version that is there is refused.
    Needs the extra "hub".
    """
    import registry
    from dsactl.synthetic import bundled
    from registry import hub

    if out is not None and not dry_run:
        raise UsageError("--out is for --dry-run.", "Pass both, or neither.")
    hub.require_packages()
    hub.parse_repo_id(repository)
    output = Output(as_json=as_json, quiet=quiet)
    user = registry.Store()
    store, stored = bundled.find(reference, user)
    evaluations = bundled.evaluations(stored, user)
    notes = hub.Notes(set_command(stored.manifest), licence, _tags(stored.manifest.method))
    if dry_run:
        files = hub.repository_files(store, stored, hub.parse_repo_id(repository), notes, evaluations)
        _write(out or Path(stored.name.name), files, output)
        return
    hub.configure_client_logging(quiet=quiet)
    pushed = hub.push(store, stored, repository, notes, evaluations, private=private, create_pr=create_pr)
    address = f"{pushed.repo_id}:{pushed.version}"
    value = {
        "reference": stored.reference,
        "repository": pushed.repo_id,
        "version": pushed.version,
        "digest": pushed.digest,
        "outcome": pushed.outcome,
        "address": pushed.address,
    }
    identifier = pushed.address if pushed.outcome == "proposed" else address
    output.answer(value, [identifier], [f"[bold]{address}[/]  {escape(pushed.address)}"])
    output.note(_DID[pushed.outcome])
    if pushed.outcome != "proposed":
        output.note(f"Anywhere: dsactl pull {address}")


def _tags(method: str) -> tuple[str, ...]:
    """By what the Hub finds the paper of a method; of other programs' and packages' methods none is known."""
    paper = find(method).paper if method in BUILT_IN else ""
    return (f"arxiv:{paper}",) if paper else ()


def _write(folder: Path, files: dict[str, bytes], output: Output) -> None:
    """Write the folder that would be pushed, and say what is in it."""
    from registry import hub

    hub.write_folder(folder, files)
    shown = Table(("file", "size"), right=("size",))
    for path, data in files.items():
        shown.add(path, bytes_in_words(len(data)))
    value = {"folder": str(folder), "files": {path: len(data) for path, data in files.items()}}
    output.answer(value, [str(folder)], [shown])
    output.note(
        f"Written to {escape(str(folder))}; nothing was pushed. Push it with the same command without --dry-run."
    )
