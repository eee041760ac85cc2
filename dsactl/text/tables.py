"""Tables and lists of facts as plain text of a given width. Words are never split, so that names, digests and paths can
be copied from a narrow terminal, which wraps them itself.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len

_GAP = "  "


@dataclass
class Table:
    """A table with a heading per column.

    Attributes:
        columns: headings.
        right: headings of the columns that are aligned to the right.
        optional: headings of the columns to omit if the table is too wide, in this order.
        rows: cells.
    """

    columns: Sequence[str]
    right: Sequence[str] = ()
    optional: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield the headings, then the rows, wrapped between words if necessary.

        Args:
            width: width of the terminal in columns; None for no limit.
        """
        columns = dict(zip(self.columns, zip(self.columns, *self.rows, strict=True), strict=True))
        widths = {head: _width(texts) for head, texts in columns.items()}
        for head in self.optional:
            if width is None or _total(widths) <= width:
                break
            del columns[head], widths[head]
        if width is None or _total(widths) <= width:
            cells = [_aligned(texts, widths[head], head in self.right) for head, texts in columns.items()]
            yield from (_GAP.join(row).rstrip() for row in zip(*cells, strict=True))
            return
        _narrow(columns, widths, width)
        for row in zip(*columns.values(), strict=True):
            folded = [_wrap(cell, widths[head]) for cell, head in zip(row, columns, strict=True)]
            for parts in zip_longest(*folded, fillvalue=""):
                placed = zip(parts, columns, strict=True)
                line = [_aligned([part], widths[head], head in self.right)[0] for part, head in placed]
                yield _GAP.join(line).rstrip()


@dataclass
class Facts:
    """A list of names with a text for each."""

    pairs: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, name: str, text: str, *, whole: bool = False) -> None:
        """Append a fact; `whole` prevents wrapping, for example of a path with spaces."""
        self.pairs.append((name, text, whole))

    def lines(self, width: int | None) -> Iterator[str]:
        """Yield one or more lines per fact, wrapped between words.

        Args:
            width: width of the terminal in columns; None for no limit.
        """
        indent = max((cell_len(name) for name, _, _ in self.pairs), default=0) + len(_GAP)
        for name, text, whole in self.pairs:
            first, *more = [text] if whole or width is None else _wrap(text, max(width - indent, 1))
            yield (name + " " * (indent - cell_len(name)) + first).rstrip()
            yield from (" " * indent + line for line in more)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _narrow(columns: dict[str, tuple[str, ...]], widths: dict[str, int], width: int) -> None:
    """Narrow the widest columns until all fit, but none below the width of its longest word."""
    least = {
        head: max((cell_len(word) for text in texts for word in text.split()), default=0)
        for head, texts in columns.items()
    }
    while _total(widths) > width:
        can = [head for head in widths if widths[head] > least[head]]
        if not can:
            return
        widths[max(can, key=widths.__getitem__)] -= 1


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _is_simple(texts: Sequence[str]) -> bool:
    """Return whether every character is one column wide; tests distinct characters, as there may be 10,000 cells."""
    joined = "".join(texts)
    return joined.isascii() or all(cell_len(letter) == 1 for letter in set(joined))


def _width(texts: Sequence[str]) -> int:
    return max(map(len if _is_simple(texts) else cell_len, texts))


def _aligned(texts: Sequence[str], width: int, to_the_right: bool) -> list[str]:
    """Pad the cells of a column with spaces to one width."""
    if _is_simple(texts):
        return [text.rjust(width) if to_the_right else text.ljust(width) for text in texts]
    spaces = [" " * (width - cell_len(text)) for text in texts]
    return [space + text if to_the_right else text + space for text, space in zip(texts, spaces, strict=True)]
