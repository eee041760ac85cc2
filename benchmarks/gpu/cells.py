"""Cells: sets to condense and evaluate, and the order in which they are worth their time on a GPU."""

from dataclasses import dataclass

from dsactl.data.catalogue import CATALOGUE
from dsactl.paper import SCHEDULE, MeanStd, paper_accuracy, tables
from dsactl.recipes.methods import find

# A guess for one large GPU, which only orders the cells.
START = 10.0  # seconds for loading, capturing, and five networks
IMAGE = 8e-6  # seconds for the gradient of an image of 32×32 pixels
STEP = 1e-3  # seconds for a step on the synthetic images, however few

WORTH = {"mnist": 1.0, "cifar10": 1.0, "fashionmnist": 0.7, "svhn": 0.7, "cifar100": 1.0}
HEADLINE, HEADLINE_WORTH = ("cifar10", 10), 2.0
"""The cell that the other methods are compared in."""


@dataclass(frozen=True)
class Cell:
    """A set of the default network, by its recipe.

    Attributes:
        dataset, ipc, method, formation: see `dsactl condense`.
    """

    dataset: str
    ipc: int
    method: str = "dsa"
    formation: int = 1

    @classmethod
    def parse(cls, text: str) -> "Cell":
        """Parse DATASET:IPC, DATASET:IPC:METHOD or DATASET:IPC:METHOD:FORMATION.

        Raises:
            ValueError: it is neither.
        """
        dataset, ipc, *more = text.split(":")
        if dataset not in CATALOGUE or len(more) > 2:
            raise ValueError(text)
        method, formation = (*more, *("dsa", "1")[len(more) :])
        cell = cls(dataset, int(ipc), method, int(formation))
        if min(cell.ipc, cell.formation) < 1:
            raise ValueError(text)
        find(cell.method)
        return cell

    @property
    def name(self) -> str:
        """The cell's name as part of a file name."""
        formation = f"-formation{self.formation}" if self.formation > 1 else ""
        return f"{self.dataset}-{self.ipc}-{self.method}{formation}"

    @property
    def title(self) -> str:
        """The cell's name for readers."""
        formation = f", formation {self.formation}" if self.formation > 1 else ""
        return f"{CATALOGUE[self.dataset].title}, {self.ipc} per class, {self.method}{formation}"

    @property
    def paper(self) -> MeanStd | None:
        """The accuracy in the paper; None if it has none."""
        if self.formation > 1:
            return None
        return paper_accuracy(self.dataset, self.ipc, self.method, "convnet", "convnet")


def default_cells() -> list[Cell]:
    """Return the cells of DSA in Tables 1 and 2 of the paper, by worth per minute; then the newer methods in one."""
    rows = tables()["accuracy"]["rows"]
    cells = [Cell(row["dataset"], row["ipc"]) for row in rows if row["dsa"] is not None]
    newer = [Cell(*HEADLINE, method, 2) for method in ("dm", "dance")]
    return [*sorted(cells, key=lambda cell: -worth(cell) / seconds(cell)), *newer]


def worth(cell: Cell) -> float:
    """Return what a cell is worth, relative to the others."""
    return HEADLINE_WORTH if (cell.dataset, cell.ipc) == HEADLINE else WORTH[cell.dataset]


def seconds(cell: Cell) -> float:
    """Return a guess of the seconds that making a set of DSA takes."""
    entry = CATALOGUE[cell.dataset]
    image = IMAGE * entry.size[0] * entry.size[1] / 32**2
    inner_steps, epochs = SCHEDULE[cell.ipc]
    matching = image * entry.classes * (256 + 3 * cell.ipc)
    training = epochs * max(STEP, image * entry.classes * cell.ipc)
    return START + 1000 * inner_steps * (matching + training)
