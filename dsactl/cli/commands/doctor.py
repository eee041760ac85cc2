"""The command `dsactl doctor`."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dsactl.cli.flags import translate
from dsactl.cli.output import Output
from dsactl.cli.streams import printable
from dsactl.text.tables import Facts

if TYPE_CHECKING:
    from dsactl.diagnosis.finding import Finding

EXAMPLES = """Examples:

  dsactl doctor
  dsactl doctor --online
  dsactl doctor --report > report.txt"""

_COLOURS = {"ok": "green", "slow": "yellow", "broken": "bold red", "not here": "dim", "unknown": "magenta"}
_NARROW = 60  # columns, below which the texts are below the names instead of beside them


def command(
    report: Annotated[
        bool,
        typer.Option("--report", help="Text for a bug report, without paths, names of user and machine, and tokens."),
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Request to the Hugging Face Hub, of at most 5 seconds.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Check what slows this machine and what is broken on it, and say what to do.

    Each line is measured: compilers, threads and cores, other processes, speed, GPUs, memory, disks, the store,
    packages. docs/troubleshooting.md explains each. Takes about ten seconds; the exit code is 1 if something is broken.
    """
    from dsactl.diagnosis.doctor import CHECKS, doctor
    from dsactl.diagnosis.report import lines, versions, without_private

    with output.progress("checking", len(CHECKS) + online, "checks") as progress:
        findings = doctor(online=online, progress=progress)
    broken = [finding.check for finding in findings if finding.state == "broken"]
    slow = [finding.check for finding in findings if finding.state == "slow"]
    value = {
        "findings": [_translated(each, without_private if report else str) for each in findings],
        "versions": versions(),
    }
    if report:
        shown: Sequence[str | Text] = [Text(printable(line)) for line in lines(findings)]
    else:
        shown = list(_screen(findings, output.width if output.is_terminal else None))
    output.answer(value, [*broken, *slow], shown)
    if not report:
        output.note(f"\nBroken: {', '.join(broken) or 'nothing'}. Slow: {', '.join(slow) or 'nothing'}.")
        output.note("[dim]docs/troubleshooting.md explains each line. For a bug report: dsactl doctor --report[/]")
    if broken:
        raise typer.Exit(1)


def _translated(finding: "Finding", shown: Callable[[str], str]) -> dict[str, Any]:
    texts = {"found": finding.found, "advice": finding.advice}
    return finding.to_dict() | {name: shown(translate(text)) for name, text in texts.items()}


def _screen(findings: Sequence["Finding"], width: int | None) -> Iterator[Text]:
    """Yield the lines of the findings: state, name and what was found, and below that what to do."""
    states, names = max(map(len, _COLOURS)), max((len(each.check) for each in findings), default=0)
    for each in findings:
        texts = [translate(each.found), *([f"→ {translate(each.advice)}"] if each.advice else [])]
        head = f"{each.state:<{states}}  {each.check:<{names}}"
        facts = Facts()
        narrow = width is not None and width < _NARROW
        for index, text in enumerate(texts):
            facts.add("" if narrow else head if index == 0 else " " * len(head), text)
        lines = ([head.rstrip()] if narrow else []) + list(facts.lines(width))
        advice = False
        for index, line in enumerate(lines):
            shown = Text(printable(line))
            advice = advice or line.lstrip().startswith("→")
            if index == 0:
                shown.stylize(_COLOURS[each.state], 0, len(each.state))
            elif advice:
                shown.stylize("bold" if each.state in ("slow", "broken") else "dim")
            yield shown
