"""Plots: readable in grey and on paper, with axes that say what they are."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dsactl.studies.cells import Cell, Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[Key, Cell],
    *,
    title: str,
    row_label: str,
    column_label: str,
) -> bytes:
    """A matrix of accuracies as a PNG, each with its number; cells that are not there yet stay white.

    Args:
        rows, columns: their names.
        cells: by row and column.
        title, row_label, column_label: what to write.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure(1.4 + 1.15 * len(columns), 1.5 + 0.62 * len(rows))
    axes = figure.add_subplot()
    grid = [[cells[row, column].mean if (row, column) in cells else float("nan") for column in columns] for row in rows]
    means = [cell.mean for cell in cells.values()]
    low, high = (min(means), max(means)) if means else (0.0, 100.0)
    image = axes.imshow(grid, cmap="Greys", vmin=low - 0.4 * (high - low) - 1, vmax=high + 1.2 * (high - low) + 1)
    for (row, column), cell in cells.items():
        place = (columns.index(column), rows.index(row))
        axes.text(*place, f"{cell.mean:.1f}\n± {cell.std:.1f}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    axes.set_title(title, fontsize=10)
    axes.set_aspect("auto")
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10])
    figure.colorbar(image, ax=axes, label="test accuracy, %", boundaries=_levels(low, high), ticks=ticks)
    return _png(figure)


def _levels(low: float, high: float) -> list[float]:
    span = max(high - low, 0.1)
    return [low + span * index / 50 for index in range(51)]


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
