"""The command `dsactl verify`."""

from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.flags import translate
from dsactl.cli.output import Output
from dsactl.text.formatting import many

EXAMPLES = """Examples:

  dsactl verify
  dsactl verify mnist-dsa-convnet-ipc1 digits-dsa-convnet-ipc1:2"""


def command(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REF",
            help="Sets or pools of experts: name, name:version, name:tag or @sha256:…  \\[the whole store]",
            autocompletion=options.complete_reference,
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """Verify the checksums of all stored files: manifests, tensors, pictures, tags, evaluations.

    Prints each file that is damaged, missing or changed; the exit code is then 1. Nothing is changed.
    """
    import registry
    from dsactl.synthetic import bundled
    from registry.upkeep import Findings, verify

    store = registry.Store()
    if references:
        found = [bundled.find(text, store) for text in references]
        parts = [verify(where, [stored]) for where, stored in found]
        findings = Findings([each for part in parts for each in part.checked], [e for p in parts for e in p.faults])
    else:
        findings = verify(store)
    for fault in findings.faults:
        output.error(fault.message, fault.hint)
    value = {
        "checked": findings.checked,
        "faults": [translate(str(fault)) for fault in findings.faults],
        "leftovers": [str(path) for path in findings.leftovers],
    }
    count = len(findings.checked)
    faults = len(findings.faults)
    verdict = many(faults, "error") if faults else "no errors"
    output.answer(value, findings.checked, [f"{many(count, 'version')} checked: {verdict}"])
    for path in findings.leftovers:
        output.note(f"Unreferenced: {escape(str(path))}")
    if findings.leftovers:
        output.note("No set refers to these files; they are harmless. Delete them: dsactl prune")
    if not findings.complete:
        output.note("Files that a damaged set may need are not counted as unreferenced.")
    if findings.faults:
        raise typer.Exit(1)
