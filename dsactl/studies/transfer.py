"""Cross-architecture transfer (Section 4.3, Table 3): sets condensed on one network, tested on others.

A set is condensed on each network of the rows; networks of each of the columns are trained on it. Networks whose paper
twin has batch norm are condensed with batch norm and tested with instance norm, as the paper's are.
"""

from collections.abc import Sequence
from dataclasses import replace

from dsactl.evaluation import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import Figure, tables
from dsactl.recipe import Request
from dsactl.studies.ablations import is_comparable
from dsactl.studies.cells import Entry

CONDENSED_ON = {"vgg11": "vgg11bn", "resnet18": "resnet18bn_ap"}
"""What stands for these rows while condensing."""


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
            replace(request, arch=CONDENSED_ON.get(row, row)),
            replace(protocol, network=NetworkSpec(column)),
            _papers(request, row, column) if beside else None,
        )
        for row in rows
        for column in columns
    ]


def _papers(request: Request, row: str, column: str) -> Figure | None:
    """The paper's cell: of MNIST, one image per class, DSA."""
    table = tables()["transfer"]
    if (request.dataset, request.ipc, request.method) != ("mnist", 1, "dsa"):
        return None
    if row not in table["rows"] or column not in table["columns"]:
        return None
    mean, std = table["rows"][row][table["columns"].index(column)]
    return mean, std
