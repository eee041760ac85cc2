"""Figures of the paper for `dsactl reproduce`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from dsactl.cli import study_runs
from dsactl.cli.output import Output
from dsactl.errors import UsageError
from dsactl.recipes.recipe import Request
from dsactl.studies.titles import FIGURES, PARTS

if TYPE_CHECKING:
    from dsactl.studies.figures import Part
    from dsactl.studies.folder import Folder


def check(figure: str, only: Sequence[str]) -> None:
    """Refuse unknown parts of a figure.

    Raises:
        UsageError: the figure has none of these parts; the hint lists its parts.
    """
    if only and not any(name in only for name in PARTS[figure]):
        raise UsageError(f"{figure} has no part {', '.join(only)}.", f"Parts: {', '.join(PARTS[figure])}.")


def choose(figure: str, base: Request, networks: int, only: Sequence[str]) -> "list[Part]":
    """Return the parts of a figure, or only those with the given names, which must be valid."""
    from dsactl.studies.figures import parts

    return [part for part in parts(figure, base, networks) if not only or part.name in only]


def dry_run(wanted: "list[Part]", device: str, output: Output) -> None:
    """Print the sets that would be made, and their cost."""
    from dsactl.evaluation.protocol import Protocol
    from dsactl.studies.entries import Entry

    entries = [
        Entry(
            (part.name, request.strategy or str(request.settings.get("init", "set"))),
            request,
            Protocol(),
            watched=part.watched,
        )
        for part in wanted
        for request in part.requests
    ]
    study_runs.dry_run(entries, 1, device, output, tested=False)


def run(figure: str, wanted: "list[Part]", folder: "Folder", device: str, output: Output) -> None:
    """Draw the parts, and update the document after each; pictures of earlier calls are kept.

    Args:
        figure: name of the figure.
        wanted: parts to draw.
        folder: results folder with the document.
        device: a device name as `condense` takes it.
        output: destination of progress and answer.
    """
    import registry
    from dsactl.data.load import check_name

    for part in wanted:
        for request in part.requests:
            check_name(request.dataset)
    store = registry.Store()
    folder.add({}, ())
    for part in wanted:
        with study_runs.explained_interrupt(), study_runs.steps(f"{figure}, {part.name}", output) as report:
            picture = part.make(store, device, report)
        folder.put(f"{figure}-{part.name}.png", picture)
        folder.put(f"{figure}-{part.name}.txt", f"{part.caption}; {part.origin(store, device)}\n".encode())
        _write(figure, folder)
    value = {"folder": str(folder.path), "pictures": [f"{figure}-{part.name}.png" for part in wanted]}
    where = escape(str(folder.path))
    output.answer(value, [str(folder.path)], [f"{study_runs.many(len(wanted), 'picture')} in {where}"])
    output.note(f"Written to {where}: {figure}.html, {figure}.md")


def _write(figure: str, folder: "Folder") -> None:
    """Write the document with all pictures in the folder."""
    from dsactl.studies.document import Document, to_html, to_markdown
    from dsactl.studies.figures import parts

    every = parts(figure, Request("", 1), 0)
    captions = {folder.path / f"{figure}-{part.name}.txt": f"{figure}-{part.name}.png" for part in every}
    files = {path.read_text(encoding="utf-8").strip(): picture for path, picture in captions.items() if path.exists()}
    text = [f"Seed {folder.plan['seed']}."]
    pictures = {caption: (folder.path / name).read_bytes() for caption, name in files.items()}
    document = Document(FIGURES[figure], text, (), {}, len(every), pictures)
    folder.put(f"{figure}.md", to_markdown(document, files).encode())
    folder.put(f"{figure}.html", to_html(document).encode())
