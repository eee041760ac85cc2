"""Specifications of a table's cells: key, request and protocol. Importing this loads no torch."""

from dataclasses import dataclass

from dsactl.evaluation.protocol import Protocol
from dsactl.paper import MeanStd
from dsactl.recipes.recipe import Request

Key = tuple[str, ...]
"""The key of a cell, such as its row and its column."""


@dataclass(frozen=True)
class Entry:
    """The specification of a cell.

    Attributes:
        key: its key.
        request: of its sets.
        protocol: of their evaluation.
        paper: the paper's mean and standard deviation; None for those that the evaluation looks up, if any.
        comparable: whether the paper's result was obtained by the same protocol.
        remark: a note on the result, such as what was scaled down.
        watched: whether the images of its first set are recorded while learned (`evolution.watch_condensing`).
    """

    key: Key
    request: Request
    protocol: Protocol
    paper: MeanStd | None = None
    comparable: bool = True
    remark: str = ""
    watched: bool = False
