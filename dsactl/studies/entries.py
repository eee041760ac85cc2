"""What the cells of a table are to be: a name, a set, a protocol. Importing this imports no torch."""

from dataclasses import dataclass

from dsactl.evaluation.protocol import Protocol
from dsactl.paper import Figure
from dsactl.recipes.recipe import Request

Key = tuple[str, ...]
"""What names a cell: its row and its column, for example."""


@dataclass(frozen=True)
class Entry:
    """What a cell is to be.

    Attributes:
        key: its name.
        request: what is made.
        protocol: how it is evaluated.
        paper: the paper's mean and standard deviation; None for the one that the evaluation finds itself, if any.
        comparable: whether the paper's is by the same protocol.
        remark: what should be said beside the result, such as what was scaled down.
        watched: whether the first of its sets is watched while it is made (`evolution.watch_condensing`).
    """

    key: Key
    request: Request
    protocol: Protocol
    paper: Figure | None = None
    comparable: bool = True
    remark: str = ""
    watched: bool = False
