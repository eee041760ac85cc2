"""The command `dsactl runs`."""

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dsactl.cli import run_lines
from dsactl.cli.output import Output
from dsactl.engine.progress import Progress

if TYPE_CHECKING:
    from dsactl.runs.listing import Run
    from dsactl.runs.watching import Watcher

EXAMPLES = """Examples:

  dsactl runs
  dsactl runs --unfinished
  dsactl runs 'cifar10-*' --json
  dsactl runs --follow
  dsactl runs --follow digits-dsa-convnet-ipc1"""


def _complete_run(incomplete: str) -> list[str]:
    import registry
    from dsactl.runs.listing import list_runs

    with contextlib.suppress(registry.Error):
        return sorted({run.name for run in list_runs() if run.name.startswith(incomplete)})
    return []


def command(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the set or pool, or key of the run, with * and ? (glob), or the key's first 8 characters.",
            autocompletion=_complete_run,
        ),
    ] = "*",
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only running and stopped runs.")] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Live view of the runs that are running, until all have ended, or Ctrl-C."),
    ] = False,
    *,
    output: Output,
) -> None:
    """List the runs that make sets and pools of experts, finished or not, the last written one at the end.

    A run is running (a process works on it now), stopped, finished, or removed (its set is not in the store any more).
    Stopped ones are listed with the command that continues each. The steps of a pool are epochs of all its networks.
    Evaluations are not listed.

    --follow reads the files of the running ones once a second, shows those that begin meanwhile too, and ends three
    seconds after the last of them. Where there is no terminal, it prints a line for each percent; with --json an object
    a line for each change, and with --quiet the key of each run that has ended.
    """
    import registry
    from dsactl.runs.listing import list_runs
    from dsactl.runs.watching import Watcher

    store, remarks = registry.Store(), _Remarks(output)
    if follow:
        _follow(Watcher(store, pattern, remarks), output)
        return
    runs = list_runs(pattern, unfinished=unfinished, store=store, progress=remarks)
    value = [run_lines.to_json(run) for run in runs] if output.as_json else []
    commands = map(escape, run_lines.how_to_continue(runs))
    output.answer(value, [run.key for run in runs], [run_lines.table(runs), *commands] if runs else [])
    if runs or output.as_json:
        return
    if pattern != "*" or unfinished:
        what = "unfinished run" if unfinished else "run"
        output.note(f"No {what}{'' if pattern == '*' else ' matches'}. List all: dsactl runs")
    else:
        output.note(f"The store {escape(str(store.home))} has no runs. Begin one: dsactl condense digits --ipc 1")


class _Remarks(Progress):
    """A meter that prints what it is told, and shows no progress."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def remark(self, text: str) -> None:
        self._output.remark(text)


def _follow(watcher: "Watcher", output: Output) -> None:
    """Show the runs that are going on until none is any more.

    Raises:
        typer.Exit: after Ctrl-C.
    """
    from dsactl.runs.watching import LOOK_SECONDS

    code = 0
    try:
        with output.live() as show:
            shown = dict[str, tuple[str, int | None]]()
            while True:
                changed = watcher.look()
                if show is not None:
                    if changed:
                        show([run_lines.as_bar(run, output.width) for run in watcher.runs.values()])
                else:
                    _print_changes(changed, shown, output)
                if watcher.is_over:
                    break
                time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:  # the usual way to leave
        code = 130
    runs = list(watcher.runs.values())
    if show is not None and runs:
        output.answer([], [], [run_lines.table(runs)])
    for line in run_lines.how_to_continue(runs):
        output.note(escape(line))
    if not runs and not output.as_json:
        output.note("No run is going on. List all: dsactl runs")
    if code:
        raise typer.Exit(code)


def _print_changes(changed: "list[Run]", shown: dict[str, tuple[str, int | None]], output: Output) -> None:
    """Print a line for each run that has changed: its state or percentage, or with JSON anything.

    Args:
        changed: the runs.
        shown: what was printed of each; updated.
        output: prints them.
    """
    for run in changed:
        now = run.state, run.done if run.percent is None else run.percent
        if output.quiet and run.state == "running":
            continue
        if output.as_json or shown.get(run.key) != now:
            output.answer(run_lines.to_json(run), [run.key], [escape(run_lines.as_line(run))])
            sys.stdout.flush()
        shown[run.key] = now
