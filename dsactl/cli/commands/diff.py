"""The command `dsactl diff`."""

from typing import Annotated

import typer
from rich.markup import escape

from dsactl.cli import options
from dsactl.cli.output import Output
from dsactl.evaluation.differences import differing, facts_of, in_rows
from dsactl.text.tables import Table

EXAMPLES = """Examples:

  dsactl diff mnist-dsa-convnet-ipc1:1 mnist-dsa-convnet-ipc1:2
  dsactl diff cifar10-dsa-convnet-ipc1 cifar10-random-ipc1 --json"""


def command(
    a: options.Reference,
    b: Annotated[
        str,
        typer.Argument(metavar="REF", help="Set to compare with.", autocompletion=options.complete_reference),
    ],
    *,
    output: Output,
) -> None:
    """Show the differences of two sets, or two pools of experts, in dataset, recipe, provenance and accuracies."""
    import registry
    from dsactl.synthetic import bundled

    store = registry.Store()
    sets = [bundled.find(text, store)[1] for text in (a, b)]
    sets[1].check_kind(sets[0].kind)
    found = differing([facts_of(each, bundled.evaluations(each, store)) for each in sets])
    same = sets[0].digest == sets[1].digest
    value = {"a": sets[0].reference, "b": sets[1].reference, "same_content": same, "differing": found}
    shown = Table(("", *(each.reference for each in sets)))
    shown.rows = [(name, *texts) for name, texts in in_rows(found)]
    verdict = f"{sets[0].reference} and {sets[1].reference} have {'the same' if same else 'different'} content"
    output.answer(value, list(found), [*([shown] if found else []), escape(verdict)])
