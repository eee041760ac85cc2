"""Runs as JSON, as a table, and as lines that are followed."""

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from dsactl.cli.recipe_to_command import continue_command
from dsactl.recipes.recipe import Recipe
from dsactl.runs.listing import Run
from dsactl.text.formatting import duration, to_the_minute
from dsactl.text.sparkline import sparkline
from dsactl.text.tables import Table

_BAR, _LEAST_BAR, _CURVE = 24, 8, 60


def to_json(run: Run) -> dict[str, Any]:
    """Return a run as JSON values, with the command that goes on with it."""
    recipe = run.recipe
    return {
        "run": run.key,
        "name": run.name,
        "kind": run.kind,
        "method": run.method,
        "dataset": recipe.dataset,
        "network": recipe.network_label,
        "ipc": recipe.ipc if isinstance(recipe, Recipe) else None,
        "seed": recipe.seed,
        "state": run.state,
        "done": run.done,
        "total": run.total,
        "percent": None if run.share is None else round(100 * run.share, 2),
        "seconds": _rounded(run.seconds),
        "seconds_per_step": _rounded(run.seconds_per_step),
        "seconds_left": _rounded(run.seconds_left),
        "figures": dict(run.figures),
        "written": run.written,
        "reference": run.reference,
        "command": continue_command(run),
        "folder": str(run.folder),
    }


def table(runs: Sequence[Run]) -> Table:
    """Return a table with a row per run."""
    columns = ("run", "seed", "state", "steps", "%", "s/step", "time", "left", "latest", "written")
    shown = Table(
        columns,
        right=("seed", "steps", "%", "s/step", "time", "left"),
        optional=("seed", "time", "written", "s/step", "%", "latest", "left"),
    )
    for run in runs:
        left = run.seconds_left
        shown.add(
            run.reference or run.name,
            _short(str(run.recipe.seed)),
            run.state,
            _steps(run),
            _percent(run).removesuffix(" %") or "–",
            f"{run.seconds_per_step:.3g}" if run.seconds_per_step else "–",
            duration(run.seconds) if run.seconds else "–",
            duration(left) if left else "–",
            _figure(run) or "–",
            to_the_minute(run.written),
        )
    return shown


def how_to_continue(runs: Sequence[Run]) -> list[str]:
    """Return the commands that go on with runs that have stopped, each on a line, below a heading; plain text."""
    commands = [command for run in runs if run.state == "stopped" and (command := continue_command(run))]
    if not commands:
        return []
    what = "the stopped run" if len(commands) == 1 else "the stopped runs, in the same order"
    return [f"To continue {what}:", *(f"  {command}" for command in commands)]


def as_line(run: Run) -> str:
    """Return a run on one line, as plain text."""
    words = [_ended(run)] if run.state != "running" else _progress(run)
    return f"{run.reference or run.name}: {', '.join(filter(None, [*words, _figure(run)]))}"


def as_bar(run: Run, width: int) -> Text:
    """Return a run on two or three lines of a terminal: its progress, and its curve.

    Args:
        run: the run.
        width: of the terminal, in columns.
    """
    running, name = run.state == "running", run.reference or run.name
    words = "  ".join(filter(None, _progress(run))) if running else _ended(run)
    fits = len(name) + len(words) + 1 <= width
    bar = min(_BAR, width - len(words) - 3 - (len(name) if fits else 0)) if running else 0
    line = Text(name if fits else f"{name}\n ", no_wrap=True, overflow="ellipsis").append(" ")
    if bar >= _LEAST_BAR:
        full = round(bar * (run.share or 0.0))
        line.append("━" * full, "bar.complete").append("━" * (bar - full), "bar.back").append(" ")
    line.append(words, "green" if run.state == "finished" else "" if running else "yellow")
    figure = _figure(run)
    if figure:
        curve = sparkline(run.curve, max(0, min(_CURVE, width - len(figure) - 5)))
        line.append(f"\n  {figure}  ", "dim").append(curve if len(run.curve) > 1 else "", "cyan")
    return line


def _progress(run: Run) -> list[str]:
    left, each = run.seconds_left, run.seconds_per_step
    return [
        f"{_steps(run)} {'epochs' if run.kind == 'experts' else 'steps'}" if run.done is not None else "running",
        _percent(run),
        (f"{each:.2g} s each" if each >= 1 else f"{1 / each:.1f}/s") if each else "",
        f"{duration(left)} left" if left else "",
    ]


def _ended(run: Run) -> str:
    if run.state == "finished":
        return f"finished in {duration(run.seconds)}" if run.seconds else "finished"
    return f"{run.state} at {_steps(run)}"


def _steps(run: Run) -> str:
    if run.done is None:
        return "–"
    return f"{run.done}/{run.total}" if run.total else str(run.done)


def _percent(run: Run) -> str:
    return "" if run.percent is None else f"{run.percent} %"


def _figure(run: Run) -> str:
    digits = {"distance": 4, "loss": 3}
    return "" if run.figure is None else f"{run.figure[0]} {run.figure[1]:.{digits[run.figure[0]]}g}"


def _short(seed: str) -> str:
    return seed if len(seed) <= 6 else f"{seed[:5]}…"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
