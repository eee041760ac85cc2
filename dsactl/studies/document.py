"""Documents of studies: Markdown, and HTML in one file with embedded pictures; rewritten as cells finish."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import Template

from dsactl.studies.cells import Cell
from dsactl.studies.entries import Key
from dsactl.text.formatting import many

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
.number { text-align: right; white-space: nowrap; }
td:not(.number) { font-size: 90%; }
thead th { border-bottom: 2px solid #222; }
figure { margin: 1.5em 0; } img { max-width: 100%; height: auto; } figcaption, .note { color: #666; font-size: 90%; }
progress { width: 20em; }
"""
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


@dataclass
class Document:
    """The content of a document.

    Attributes:
        title: its heading.
        about: paragraphs below it: what was run, where, and what was scaled down.
        names: of the parts of the cells' keys; empty for a document of pictures.
        cells: the finished ones.
        total: number of cells, or else of pictures, in the plan.
        pictures: PNG or WebP, by their captions.
    """

    title: str
    about: Sequence[str]
    names: tuple[str, ...]
    cells: Mapping[Key, Cell]
    total: int
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    def heads(self) -> list[str]:
        """Return the headings of the table's columns."""
        return [
            *self.names,
            "ours, %",
            "the paper's, %",
            "difference (paper's σ)",
            "n",
            "scaled down",
            "time: sets, networks",
            "sets made with",
            "networks trained with",
        ]

    def rows(self) -> list[list[str]]:
        """Return the rows of the table."""
        return [[*key, *_row(cell)] for key, cell in self.cells.items()]

    def state(self) -> str:
        """Return the progress as a sentence."""
        return f"{self.done} of {self.total} {'cells' if self.names else 'pictures'} are finished."

    @property
    def done(self) -> int:
        """The number of finished cells or pictures."""
        return len(self.cells if self.names else self.pictures)


def _row(cell: Cell) -> list[str]:
    far = cell.deviations
    return [
        cell.in_words,
        cell.paper_in_words,
        f"{far:+.1f}" if far is not None else "–",
        str(cell.n),
        cell.remark or "no",
        f"{_duration(cell.making)}, {_duration(cell.testing)}",
        "; ".join(cell.made_in) or "–",
        f"{cell.program}, {cell.device}, {many(cell.epochs, 'epoch')}, augmentation {cell.augmentation}",
    ]


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def to_markdown(document: Document, picture_files: Mapping[str, str]) -> str:
    """Return the document in Markdown.

    Args:
        document: the content.
        picture_files: names of the pictures' files, by caption.
    """
    heads = document.heads()
    lines = [f"# {document.title}", "", *[line for text in document.about for line in (text, "")], document.state(), ""]
    if document.cells:
        lines += ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
        lines += ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in document.rows()]
        lines += [""]
    for caption, name in picture_files.items():
        lines += [f"![{_plain(caption)}]({name})", "", f"*{_plain(caption)}*", ""]
    return "\n".join(lines)


def to_html(document: Document) -> str:
    """Return the document in HTML: one self-contained file."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        number = range(len(document.names), len(document.names) + 4)
        kinds = (' class="number"' if index in number else "" for index in range(len(texts)))
        return "".join(f"<{tag}{kind}>{html.escape(text)}</{tag}>" for kind, text in zip(kinds, texts, strict=True))

    parts = [f"<p>{html.escape(text)}</p>" for text in document.about]
    parts.append(
        f'<p><progress max="{document.total}" value="{document.done}"></progress> {html.escape(document.state())}</p>'
    )
    if document.cells:
        rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in document.rows())
        head = f"<thead><tr>{cells('th', document.heads())}</tr></thead>"
        parts.append(f"<table>\n{head}\n<tbody>\n{rows}\n</tbody>\n</table>")
    for caption, data in document.pictures.items():
        kind = "png" if data.startswith(b"\x89PNG") else "webp"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        words = html.escape(caption)
        parts.append(f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>')
    return _PAGE.substitute(title=html.escape(document.title), style=_STYLE, body="\n".join(parts))


def _plain(text: str) -> str:
    """Escape a text for a table or an emphasis in Markdown."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")
