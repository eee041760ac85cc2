"""Cross-architecture transfer (Section 4.3, Table 3): sets condensed on one network, tested on others.

A set is condensed on the network of each row, and the networks of all columns are trained on it. As in the paper,
Algorithm 1 condenses on VGG and ResNet with batch norm, and they are tested with instance norm. Importing this loads no
torch.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.errors import NetworkError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import ARCHITECTURES, PAPER_ARCHS, NetworkSpec
from dsactl.paper import CONDENSED_ON, paper_accuracy
from dsactl.recipes.methods import find
from dsactl.recipes.recipe import Request
from dsactl.studies.ablations import is_comparable
from dsactl.studies.entries import Entry, Key
from dsactl.studies.options import about, at_least_one, checked_names, plan_of, request_of
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, run_study

if TYPE_CHECKING:
    import registry
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor
    from dsactl.studies.cells import Cell

NAMES = ("condensed on", "tested on")
"""Names of the parts of the cells' keys."""


@dataclass(frozen=True)
class Transfer(Study):
    """A study of transfer between networks; its options are checked when it is made.

    Attributes:
        dataset: a dataset's name or an image folder.
        ipc: images per class.
        archs: networks to condense on; the paper's by default.
        test_on: networks to test on; None for `archs`.
        method, formation: see `condense`.
        sets: number of sets per network, with derived seeds; 5 in the paper.
        networks: number of networks per set and cell; 20 in the paper.
        iterations: outer iterations; None for the method's default.
        epochs: of training a network; None for the protocol's default.
        seed: the random seed.
        image_size: side of a folder's images in pixels.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """

    command: ClassVar[str] = "transfer"

    dataset: str
    ipc: int = 1
    archs: Sequence[str] = PAPER_ARCHS
    test_on: Sequence[str] | None = None
    method: str = "dsa"
    formation: int = 1
    sets: int = 1
    networks: int = 20
    iterations: int | None = None
    epochs: int | None = None
    seed: int = 0
    image_size: int | None = None

    def __post_init__(self) -> None:
        at_least_one(sets=self.sets, networks=self.networks, epochs=self.epochs)
        if not find(self.method).network:
            raise UsageError(
                f'`method="{self.method}"` uses no network to transfer from.',
                'Use a method that does, e.g. `method="dsa"`.',
            )
        self.entries  # noqa: B018  (checks the options)

    @property
    def rows(self) -> tuple[str, ...]:
        """The networks to condense on."""
        return checked_names(self.archs, "network", list(ARCHITECTURES))

    @property
    def columns(self) -> tuple[str, ...]:
        """The networks to test on."""
        return self.rows if self.test_on is None else checked_names(self.test_on, "network", list(ARCHITECTURES))

    @property
    def protocol(self) -> Protocol:
        """The protocol of every cell, without the network."""
        return Protocol(networks=self.networks, epochs=self.epochs)

    @cached_property
    def request(self) -> Request:
        """The request of the sets, without the network."""
        given = {"method": self.method, "formation": self.formation, "seed": self.seed, "iterations": self.iterations}
        return request_of(self.dataset, self.ipc, **given, image_size=self.image_size)

    @cached_property
    def entries(self) -> list[Entry]:
        """The cells to compute, row by row."""
        return transfer_entries(self.request, self.rows, self.columns, self.protocol)

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Condense on each network and test on each; see `Study.run`. The meter counts parts, see `cells.parts`."""
        from dsactl.studies.cell_study import CellStudy, in_order
        from dsactl.studies.cells import check
        from dsactl.studies.folder import Folder
        from dsactl.studies.plots import heat_map

        with self.suggesting_networks(str(session.device)):
            job = check(self.entries, session.device)[0]
        name = job.dataset.name
        plan = plan_of(self.request, self.sets, self.protocol, job.dataset)
        tiled = f"-formation{self.formation}" if self.formation > 1 else ""
        folder = Folder(out or Path(f"{name}-transfer-{self.method}-ipc{self.ipc}{tiled}"), "transfer", plan)

        def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
            rows, columns = (in_order(part, self.entries, cells) for part in range(2))
            title = f"{name}, {about(self.request)}"
            picture = heat_map(rows, columns, cells, title=title, row_label=NAMES[0], column_label=NAMES[1])
            return {"transfer.png": picture}

        return CellStudy(NAMES, self.entries, self.sets, folder, draw).run(session, job)

    @contextlib.contextmanager
    def suggesting_networks(self, device: str) -> Iterator[None]:
        """Add the requested networks that can take the images to the error of one that cannot.

        Raises:
            NetworkError: a network cannot take the images; the hint names those that can.
        """
        try:
            yield
        except NetworkError as error:
            fit = [name for name in dict.fromkeys([*self.rows, *self.columns]) if self._fits(name, device)]
            others = f"Networks that can: `archs={fit!r}`" if fit else "Use larger images or other networks."
            raise NetworkError(error.message, others) from None

    def _fits(self, name: str, device: str) -> bool:
        """Return whether a network can take the images for both condensing and testing."""
        from dsactl.studies.cells import check

        try:
            check([entry for entry in self.entries if entry.key == (name, name)] or self.entries[:1], device)
        except NetworkError:
            return False
        return True


def transfer(
    dataset: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
    **options: Any,
) -> StudyResult:
    """Condense a dataset on each of several networks, and test the sets on each (Table 3, for any dataset).

    Stored sets and cached results are reused, and an interrupted study is resumed.

    Args:
        dataset: a dataset's name or an image folder.
        out, device, store, executor, progress: see `dsactl.studies.study.run_study`.
        options: attributes of `Transfer`, e.g. `ipc=1`, `archs=["convnet", "mlp"]`, `networks=5`.

    Raises:
        dsactl.Error: bad input; the store or the folder cannot be written to; the extra "studies" is not installed.

    Examples:
        >>> import dsactl
        >>> result = dsactl.transfer("digits", archs=["mlp"], iterations=1, networks=1, epochs=1)
        >>> [cell["tested on"] for cell in result.values["cells"]]
        ['mlp']
    """
    return run_study(Transfer.of(dataset=dataset, **options), out, device, store, executor, progress)


def transfer_entries(
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
