"""Cross-architecture transfer (Section 4.3, Table 3): sets condensed on one network, tested on others.

A set is condensed on the network of each row, and the networks of all columns are trained on it. As in the paper,
Algorithm 1 condenses on VGG and ResNet with batch norm, and they are tested with instance norm.
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
    """Return the cells, row by row.

    Args:
        request: of the sets, without network.
        rows: networks to condense on.
        columns: networks to test on.
        protocol: of every cell, without network.
        scaled: whether to show the paper's results also with fewer iterations, which the caller must state.
    """
    comparable = is_comparable(request, protocol, scaled=scaled)
    return [
        Entry(
            (row, column),
            replace(request, arch=_condensed_on(request.method, row)),
            replace(protocol, network=NetworkSpec(column)),
            paper_accuracy(request.dataset, request.ipc, request.method, CONDENSED_ON.get(row, row), column)
            if comparable
            else None,
        )
        for row in rows
        for column in columns
    ]


def _condensed_on(method: str, row: str) -> str:
    """Return the network that a row's sets are condensed on."""
    return CONDENSED_ON.get(row, row) if find(method).batch_norm_twins else row
