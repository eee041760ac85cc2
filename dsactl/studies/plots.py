"""Plots, readable in greyscale and in print, with labelled axes."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsactl.studies.cells import Cell
from dsactl.studies.entries import Key
from dsactl.studies.gradients import Norms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150
_TITLE = 48  # characters per line of a panel's title
_MARKERS, _DASHES = "osD^vPX*<>", ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Ranking:
    """Accuracies of networks by a proxy and by all images.

    Attributes:
        proxy, whole: accuracy of each network, percent.
        best: number of the proxy's best networks, which are highlighted.
        spearman: rank correlation of these; None if there is none.
    """

    proxy: Sequence[float]
    whole: Sequence[float]
    best: int
    spearman: float | None


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[Key, Cell],
    *,
    title: str,
    row_label: str,
    column_label: str,
) -> bytes:
    """Draw a matrix of accuracies with their numbers as a PNG; missing cells stay white.

    Args:
        rows, columns: their names.
        cells: by row and column; those of other rows and columns are left out.
        title, row_label, column_label: the labels.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(1.4 + 1.15 * len(columns), 1.5 + 0.62 * len(rows))
    axes = figure.add_subplot()
    grid = [[cells[row, column].mean if (row, column) in cells else float("nan") for column in columns] for row in rows]
    cells = {key: cell for key, cell in cells.items() if key[0] in rows and key[1] in columns}
    means = [cell.mean for cell in cells.values()]
    low, high = (min(means), max(means)) if means else (0.0, 100.0)
    light, dark = low - 0.3 * (high - low) - 1, high + 0.2 * (high - low) + 1
    image = axes.imshow(grid, cmap="Greys", vmin=light, vmax=dark)
    for (row, column), cell in cells.items():
        place = (columns.index(column), rows.index(row))
        ink = "white" if cell.mean > (light + dark) / 2 else "black"
        axes.text(*place, cell.in_words.replace(" ± ", "\n± "), ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    axes.set_title(title, fontsize=10)
    axes.set_aspect("auto")
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10])
    figure.colorbar(image, ax=axes, label="test accuracy, %", boundaries=_levels(low, high), ticks=ticks)
    return to_png(figure)


def points(names: Sequence[str], cells: Mapping[Key, Cell], *, title: str) -> bytes:
    """Draw accuracies side by side as a PNG, with standard deviations, and with the paper's results if there are any.

    Args:
        names: the keys' only parts, in order; missing cells leave a gap.
        cells: by key.
        title: the title.
    """
    figure = new_figure(1.2 + 0.9 * len(names), 3.2)
    axes = figure.add_subplot()
    ours = [cells.get((name,)) for name in names]
    with_paper = any(cell and cell.paper for cell in ours)
    apart = 0.12 if with_paper else 0.0
    for place, cell in enumerate(ours):
        if cell is None:
            continue
        axes.errorbar(place - apart, cell.mean, cell.std, color="0.1", marker="o", capsize=3)
        if cell.paper:
            mean, std = cell.paper
            axes.errorbar(place + apart, mean, std, color="0.55", marker="s", markerfacecolor="white", capsize=3)
    if with_paper:
        axes.plot([], [], "o", color="0.1", label="ours")
        axes.plot([], [], "s", color="0.55", markerfacecolor="white", label="the paper")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    return to_png(figure)


def lines(methods: Sequence[str], cells: Mapping[Key, Cell], *, title: str) -> bytes:
    """Draw accuracy over images per class as a PNG, a line for each method.

    Args:
        methods: their names.
        cells: by method and images per class.
        title: the title.
    """
    figure = new_figure(5.5, 3.6)
    axes = figure.add_subplot()
    for index, method in enumerate(methods):
        points = sorted((int(ipc), cell) for (name, ipc), cell in cells.items() if name == method)
        if points:
            # On a logarithmic axis a factor separates the methods a little.
            apart = 1.03 ** (index - (len(methods) - 1) / 2)
            axes.errorbar(
                [ipc * apart for ipc, _ in points],
                [cell.mean for _, cell in points],
                [cell.std for _, cell in points],
                label=method,
                color=f"{0.6 * index / max(1, len(methods) - 1):.2f}",
                marker=_MARKERS[index % len(_MARKERS)],
                linestyle=_DASHES[index % len(_DASHES)],
                capsize=3,
            )
    numbers = sorted({int(ipc) for _, ipc in cells})
    if numbers:
        axes.set_xscale("log")
        axes.set_xticks(numbers, list(map(str, numbers)))
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_xlabel("images per class")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.9")
    return to_png(figure)


def stages(
    runs: Mapping[tuple[str, bool], Sequence[tuple[float, float]]],
    tasks: Sequence[str],
    *,
    title: str,
    papers: Mapping[str, float] | None = None,
) -> bytes:
    """Draw the mean accuracy over the tasks so far, after each stage, as a PNG (Figure 3).

    Args:
        runs: mean and standard deviation after each stage, by the memory and whether there was distillation, which
            is drawn with a broken line and an empty marker.
        tasks: their names.
        title: the title.
        papers: the paper's means after the last stage, by the memory, without distillation.
    """
    figure = new_figure(3.8 + 0.6 * len(tasks), 3.6)
    axes = figure.add_subplot()
    memories = list(dict.fromkeys(memory for memory, _ in runs))
    for index, ((memory, distilled), points) in enumerate(runs.items()):
        apart = 0.04 * (index - (len(runs) - 1) / 2)
        rank = memories.index(memory)
        grey = f"{0.6 * rank / max(1, len(memories) - 1):.2f}"
        axes.errorbar(
            [stage + apart for stage in range(len(points))],
            [mean for mean, _ in points],
            [deviation for _, deviation in points],
            label=f"{memory}, distilled" if distilled else memory,
            color=grey,
            marker=_MARKERS[rank % len(_MARKERS)],
            markerfacecolor="white" if distilled else grey,
            linestyle="--" if distilled else "-",
            capsize=3,
        )
    for memory, mean in (papers or {}).items():
        rank = memories.index(memory)
        marker = _MARKERS[rank % len(_MARKERS)]
        place = len(tasks) - 0.7
        axes.plot(place, mean, color="0.5", marker=marker, linestyle="", markersize=8, label=f"{memory}, the paper")
    axes.set_xticks(range(len(tasks)), tasks, rotation=20, ha="right")
    axes.set_xlabel("tasks, in the order in which they are learned")
    axes.set_ylabel("mean test accuracy of tasks so far, %")
    axes.set_title(title, fontsize=10)
    axes.grid(color="0.9")
    if runs:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return to_png(figure)


def norms_histogram(found: Mapping[str, Sequence[Norms]], *, title: str) -> bytes:
    """Draw histograms of gradient norms as a PNG, a panel for each way of condensing (Figure 5).

    Args:
        found: the norms, by the panel's title.
        title: the title above all panels.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    figure = new_figure(3.4 * len(found), 3.2)
    figure.suptitle(title, fontsize=10)
    everything = [norm for several in found.values() for each in several for norm in (each.real, each.synthetic)]
    # A logarithmic axis has no zero: norms below a millionth of the largest are drawn at its left end.
    high = max(everything) or 1.0
    low = max(min(everything), high / 1e6)
    edges = [low * (high / low) ** (index / 40) for index in range(40)] + [high] if high > low else [high / 2, 2 * high]
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, several) in zip(panels, found.items(), strict=True):
        axes.hist([max(each.real, low) for each in several], edges, color="0.75", label="real")
        synthetic = [max(each.synthetic, low) for each in several]
        axes.hist(synthetic, edges, histtype="step", color="0.0", label="synthetic")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("norm of a class's gradient")
    panels[0].set_ylabel("classes × steps × networks")
    panels[0].legend(frameon=False, fontsize=8)
    return to_png(figure)


def against_the_paper(cells: Mapping[str, Cell]) -> bytes:
    """Draw our accuracies over the paper's as a PNG, with both standard deviations; equal ones lie on the line.

    Args:
        cells: those with a result of the paper, by the point's label.
    """
    figure = new_figure(5.2, 4.8)
    axes = figure.add_subplot()
    lows, highs = [], []
    papers = [cell.paper[0] for cell in cells.values() if cell.paper]
    middle = (min(papers) + max(papers)) / 2
    for name, cell in cells.items():
        theirs, deviation = cell.paper or (0.0, 0.0)
        axes.errorbar(
            theirs, cell.mean, xerr=deviation, yerr=cell.std, color="0.2", marker="o", markersize=4, capsize=2
        )
        left = theirs > middle
        axes.annotate(
            name,
            (theirs, cell.mean),
            textcoords="offset points",
            xytext=(-5 if left else 5, -9),
            ha="right" if left else "left",
            fontsize=7,
            color="0.3",
        )
        lows += [theirs - deviation, cell.mean - cell.std]
        highs += [theirs + deviation, cell.mean + cell.std]
    ends = [min(lows) - 2, max(highs) + 2]
    axes.plot(ends, ends, color="0.7", linewidth=1, zorder=0)
    axes.set_xlabel("the paper's test accuracy, %")
    axes.set_ylabel("our test accuracy, %")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    return to_png(figure)


def rankings(panels: Mapping[str, Ranking], *, title: str) -> bytes:
    """Draw accuracies of networks by a proxy and by all images as a PNG, a panel for each proxy (Figure 4).

    Args:
        panels: by the proxy's name.
        title: the title above all panels.
    """
    figure = new_figure(3.3 * len(panels), 3.8)
    figure.suptitle(title, fontsize=10)
    places = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for index, (axes, (name, ranking)) in enumerate(zip(places, panels.items(), strict=True)):
        pairs = sorted(zip(ranking.proxy, ranking.whole, strict=True), key=lambda pair: -pair[0])
        best, rest = pairs[: ranking.best], pairs[ranking.best :]
        axes.plot(*_coordinates(rest), "o", color="C0", alpha=0.35, markeredgewidth=0, markersize=4, label="all others")
        axes.plot(
            *_coordinates(best), "D", color="C3", alpha=0.7, markeredgewidth=0, markersize=4, label="the proxy's best"
        )
        rank = (
            "" if ranking.spearman is None else f"\nrank correlation of the best {ranking.best}: {ranking.spearman:.2f}"
        )
        axes.set_title(textwrap.fill(name, _TITLE) + rank, fontsize=8)
        axes.set_xlabel("held-out accuracy, trained on the proxy, %", fontsize=9)
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        if not index:
            axes.set_ylabel("held-out accuracy, trained on all images, %", fontsize=9)
            shown = axes.get_legend_handles_labels()
    # Below the plots, where its markers are not mistaken for networks.
    figure.legend(*shown, frameon=False, fontsize=7, loc="outside lower center", ncols=2)
    return to_png(figure)


def _coordinates(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [across for across, _ in pairs], [up for _, up in pairs]


def _levels(low: float, high: float) -> list[float]:
    span = max(high - low, 0.1)
    return [low + span * index / 50 for index in range(51)]


def new_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def to_png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
