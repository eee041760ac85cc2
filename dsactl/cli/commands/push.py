"""The command `dsactl push`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.cli.recipe_to_command import set_command
from dsactl.cli.stored_set import decoder, renamed
from dsactl.errors import UsageError
from dsactl.recipes.methods import BUILT_IN, find
from dsactl.text.formatting import bytes_in_words
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl push digits-dsa-convnet-ipc1 user/digits-ipc1 --dry-run
  dsactl push mnist-dsa-convnet-ipc1:2 user/mnist-ipc1 --private
  dsactl push cifar10-dsa-convnet-ipc1 team/cifar10 --create-pr --licence mit"""

_OUTCOMES = {
    "pushed": "Pushed.",
    "tagged": "Content already up to date; added the missing tag.",
    "proposed": "Pull request opened, without a tag. Once merged, push again without --create-pr to set the tag.",
    "unchanged": "Already up to date; nothing was pushed.",
}


def command(
    reference: options.Reference,
    repository: Annotated[
        str,
        typer.Argument(
            metavar="USER/REPO", help="Dataset repository on the Hub, or its web address; created if missing."
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Private repository; an existing public one is refused.")
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Pull request instead of a commit; sets no tag.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence", "--license", metavar="TEXT", help="Licence of the images, for the card.  \\[not stated]"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Writing of the files to a local folder only; no network access.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for --dry-run.  \\[the set's name]")] = None,
    *,
    output: Output,
) -> None:
    """Push a set to the Hugging Face Hub, as a repository that `datasets` reads, with one tag per version.

    A pool of experts is pushed likewise, as a repository that dsactl reads.

    Pushing the same version again changes nothing; different content under an existing version is refused.
    Needs the extra "hub".
    """
    import registry
    from dsactl.synthetic import bundled
    from registry import hub
    from registry.card import known_licence

    if out is not None and not dry_run:
        raise UsageError("--out needs --dry-run.", "Give both or neither.")
    hub.require_packages()
    repo_id = hub.parse_repo_id(repository)
    user = registry.Store()
    store, stored = bundled.find(reference, user)
    evaluations = bundled.evaluations(stored, user)
    notes = hub.Notes(set_command(stored.manifest), licence, _tags(stored.manifest.method))
    if licence and known_licence(licence) is None:
        output.remark(_on_licence(licence))
    shown = decoder(stored)
    if dry_run:
        files = hub.repository_files(store, stored, repo_id, notes, evaluations, shown)
        _write(out or Path(stored.name.name), files, output)
        return
    hub.configure_client_logging(quiet=output.quiet)
    pushed = hub.push(store, stored, repo_id, notes, evaluations, shown=shown, private=private, create_pr=create_pr)
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
    if pushed.repo_id != repo_id:
        output.note(renamed(repo_id, pushed.repo_id))
    output.note(_OUTCOMES[pushed.outcome])
    if pushed.outcome != "proposed":
        output.note(f"Pull it with: dsactl pull {address}")


def _on_licence(licence: str) -> str:
    """Return a remark on a licence that the Hub does not know."""
    from registry.card import similar_licences

    near = similar_licences(licence)
    closest = f" The closest identifiers: {', '.join(near)}." if near else ""
    return f"{licence!r} is no licence identifier of the Hub, so that the card states it as other.{closest}"


def _tags(method: str) -> tuple[str, ...]:
    """Return the Hub tag of a method's paper; empty for methods of other programs and packages."""
    paper = find(method).paper if method in BUILT_IN else ""
    return (f"arxiv:{paper}",) if paper else ()


def _write(folder: Path, files: dict[str, bytes], output: Output) -> None:
    """Write the files to push to a folder, and print their names and sizes."""
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
