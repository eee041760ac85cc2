"""Tables and lists of facts, laid out as plain text for a width. No word is ever cut: names, digests and paths can be
copied from a narrow terminal, which wraps them itself.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len

_GAP = "  "


@dataclass
class Table:
    """Rows of cells under heads.

    Attributes:
        columns: the heads.
        right: those of columns that are aligned to the right.
        optional: those that are left out where the width does not suffice, the first first.
        rows: the cells.
    """

    columns: Sequence[str]
    right: Sequence[str] = ()
    optional: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def lines(self, width: int | None) -> Iterator[str]:
        """The heads, then the rows, wrapped between words where they must be.

        Args:
            width: columns of the terminal; None for no limit.
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
    """Names and what is to be said of each."""

    pairs: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, name: str, text: str, *, whole: bool = False) -> None:
        """Append a fact; `whole` for what is one word even if it has spaces, as a path may."""
        self.pairs.append((name, text, whole))

    def lines(self, width: int | None) -> Iterator[str]:
        """A line for each, or more, wrapped between words.

        Args:
            width: columns of the terminal; None for no limit.
        """
        indent = max((cell_len(name) for name, _, _ in self.pairs), default=0) + len(_GAP)
        for name, text, whole in self.pairs:
            first, *more = [text] if whole or width is None else _wrap(text, max(width - indent, 1))
            yield (name + " " * (indent - cell_len(name)) + first).rstrip()
            yield from (" " * indent + line for line in more)


def _total(widths: dict[str, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _narrow(columns: dict[str, tuple[str, ...]], widths: dict[str, int], width: int) -> None:
    """Take from the widest columns until all fit, but never less than their longest words need."""
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
    """Whether every letter takes one column of the terminal: asked of letters, not of ten thousand cells."""
    joined = "".join(texts)
    return joined.isascii() or all(cell_len(letter) == 1 for letter in set(joined))


def _width(texts: Sequence[str]) -> int:
    return max(map(len if _is_simple(texts) else cell_len, texts))


def _aligned(texts: Sequence[str], width: int, to_the_right: bool) -> list[str]:
    """The cells of a column, filled with spaces to one width."""
    if _is_simple(texts):
        return [text.rjust(width) if to_the_right else text.ljust(width) for text in texts]
    spaces = [" " * (width - cell_len(text)) for text in texts]
    return [space + text if to_the_right else text + space for text, space in zip(texts, spaces, strict=True)]
