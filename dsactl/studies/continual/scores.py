"""Scores of continual learning: mean accuracy and forgetting, from accuracies by stage and task.

Shapes: T stages, of which stage t has the accuracies of tasks 0 … t.
"""

from collections.abc import Sequence

Rows = Sequence[Sequence[float]]
"""Accuracies in percent: row t of tasks 0 … t, after stage t."""


def means(rows: Rows) -> list[float]:
    """Return the mean over the tasks seen so far, after each stage."""
    return [sum(row) / len(row) for row in rows]


def forgetting(rows: Rows) -> list[float | None]:
    """Return the mean forgetting of the earlier tasks, after each stage.

    The forgetting of task i after stage t is the maximum of its accuracy over the stages i … t − 1, minus its accuracy
    after stage t (Chaudhry et al., 2018). None after the first stage, which has no earlier task.
    """
    found: list[float | None] = []
    for stage, row in enumerate(rows):
        lost = [max(rows[before][task] for before in range(task, stage)) - row[task] for task in range(stage)]
        found.append(sum(lost) / len(lost) if lost else None)
    return found
