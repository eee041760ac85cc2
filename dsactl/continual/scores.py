"""What is said of a network that has learned several tasks: accuracies by stage and task, their mean, forgetting.

Shapes: T stages, of which stage t has the accuracies of tasks 0 … t.
"""

from collections.abc import Sequence

Rows = Sequence[Sequence[float]]
"""Accuracies in percent: row t of tasks 0 … t, after stage t."""


def means(rows: Rows) -> list[float]:
    """The mean over the tasks seen so far, after each stage."""
    return [sum(row) / len(row) for row in rows]


def forgetting(rows: Rows) -> list[float | None]:
    """How much less is known of the earlier tasks than was known at best, in the mean, after each stage.

    Of task i after stage t that is max over the stages i … t − 1 of its accuracy, less its accuracy after stage t
    (Chaudhry et al., 2018). None after the first stage, which has no earlier task.
    """
    found: list[float | None] = []
    for stage, row in enumerate(rows):
        lost = [max(rows[before][task] for before in range(task, stage)) - row[task] for task in range(stage)]
        found.append(sum(lost) / len(lost) if lost else None)
    return found
