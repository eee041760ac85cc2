"""Cross-architecture transfer (Section 4.3, Table 3): sets condensed on one network, tested on others.

A set is condensed on each network of the rows; networks of each of the columns are trained on it. Networks whose paper
twin has batch norm are condensed with batch norm and tested with instance norm, as the paper's are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import registry
from dsactl.evaluation import Protocol
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import Figure, tables
from dsactl.recipe import Request
from dsactl.studies.cells import Cell, Report, make_sets, measure_sets

CONDENSED_ON = {"vgg11": "vgg11bn", "resnet18": "resnet18bn_ap"}
"""What stands for these rows while condensing."""


@dataclass(frozen=True)
class Transfer:
    """A study of transfer.

    Attributes:
        request: the set, but for its network.
        rows: networks to condense on.
        columns: networks to test on.
        sets: per row.
        protocol: of every cell, but for its network.
    """

    request: Request
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    sets: int
    protocol: Protocol

    def requests(self) -> dict[str, Request]:
        """For each row what is condensed."""
        return {row: replace(self.request, arch=CONDENSED_ON.get(row, row)) for row in self.rows}


def check(study: Transfer, channels: int, size: tuple[int, int], classes: int) -> None:
    """Refuse networks that cannot take the images, before anything is made.

    Raises:
        NetworkError: names the network, and says why.
    """
    for name in (*study.rows, *study.columns):
        structure(NetworkSpec(CONDENSED_ON.get(name, name)), channels, size, classes)


def transfer(
    study: Transfer,
    store: registry.Store,
    device: str = "auto",
    report: Callable[[str, str | None], Report] = lambda row, column: lambda done, total, doing: None,
) -> Iterator[tuple[str, str, Cell]]:
    """Fill the matrix, row by row; what was made or measured before is only looked up.

    Args:
        study: see `Transfer`.
        store: keeps sets and records.
        device: as of `condense`.
        report: gives what is told of a row's set (column None), and of each cell.

    Yields:
        Row, column and cell, as each is finished.
    """
    for row, request in study.requests().items():
        job, made, seconds = make_sets(store, request, study.sets, device, report(row, None))
        for column in study.columns:
            protocol = replace(study.protocol, network=NetworkSpec(column))
            paper = papers(study, row, column)
            yield (
                row,
                column,
                measure_sets(store, job, made, protocol, report(row, column), made_in=seconds, paper=paper),
            )


def papers(study: Transfer, row: str, column: str) -> Figure | None:
    """The paper's cell: of MNIST, one image per class, DSA."""
    request, table = study.request, tables()["transfer"]
    if (request.dataset, request.ipc, request.method) != ("mnist", 1, "dsa"):
        return None
    if row not in table["rows"] or column not in table["columns"]:
        return None
    mean, std = table["rows"][row][table["columns"].index(column)]
    return mean, std
