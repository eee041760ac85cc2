"""Cross-architecture transfer (Section 4.3, Table 3): sets condensed on one network, tested on others.

A set is condensed on each network of the rows; networks of each of the columns are trained on it. VGG and ResNet are
condensed with batch norm by Algorithm 1, and tested with instance norm, as the paper's are.
"""

from collections.abc import Sequence
from dataclasses import replace

from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import CONDENSED_ON, paper_accuracy
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request
from dsactl.studies.ablations import is_comparable
from dsactl.studies.entries import Entry


def transfer(
    request: Request, rows: Sequence[str], columns: Sequence[str], protocol: Protocol, *, scaled: bool = False
) -> list[Entry]:
    """The cells, row by row.

    Args:
        request: the set, but for its network.
        rows: networks to condense on.
        columns: networks to test on.
        protocol: of every cell, but for its network.
        scaled: whether the paper's figures stand beside ours though iterations are cut; the caller says so.
    """
    beside = is_comparable(request, protocol, scaled=scaled)
    return [
        Entry(
            (row, column),
            replace(request, arch=_condensed_on(request.method, row)),
            replace(protocol, network=NetworkSpec(column)),
            paper_accuracy(request.dataset, request.ipc, request.method, CONDENSED_ON.get(row, row), column)
            if beside
            else None,
        )
        for row in rows
        for column in columns
    ]


def _condensed_on(method: str, row: str) -> str:
    """The network that a row's sets are made with."""
    return CONDENSED_ON.get(row, row) if find(method).batch_norm_twins else row
