"""The options of the check."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.gpu.cells import Cell, default_cells
from dsactl.errors import UnknownNameError


@dataclass(frozen=True)
class Options:
    """What to check, on what, and for how long.

    Attributes:
        limit: seconds in all.
        out: folder for the results.
        device: "cuda", or another one for a rehearsal.
        scale: factor on the numbers of iterations, epochs and networks; below 1 for a rehearsal.
        cells: sets to condense and evaluate, in this order.
        authors: a checkout of the authors' program; None to leave it out.
        only: beginnings of the names of the steps to run; empty for all.
        again: start over.
    """

    limit: float
    out: Path
    device: str
    scale: float
    cells: tuple[Cell, ...]
    authors: Path | None
    only: tuple[str, ...]
    again: bool

    def scaled(self, count: int) -> int:
        """Return a number of iterations, epochs or networks, at least 1."""
        return max(1, round(count * self.scale))


def parse(arguments: list[str] | None = None) -> Options:
    """Parse the command line; ends the program with code 2 where it cannot be used."""
    parser = _Parser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--limit", type=float, default=540, help="seconds in all (540)")
    parser.add_argument("--out", type=_path, default=Path("gpu").absolute(), help="folder for the results (gpu)")
    parser.add_argument("--device", default="cuda", help="device; cpu to rehearse (cuda)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on iterations, epochs and networks (1)")
    parser.add_argument("--cells", help="sets, e.g. cifar10:10,cifar10:10:dance:2 (Tables 1 and 2 of the paper)")
    parser.add_argument("--authors", type=_path, help="checkout of the authors' program, to compare the speed with")
    parser.add_argument("--only", default="", help="beginnings of the names of steps, e.g. bench,cell-mnist (all)")
    parser.add_argument("--again", action="store_true", help="start over; earlier results are kept in OUT/earlier-N")
    given = parser.parse_args(arguments)
    if given.limit <= 0 or not 0 < given.scale <= 1:
        parser.error("--limit must be above 0, and --scale above 0 and at most 1")
    if given.authors is not None and not (given.authors / "main.py").is_file():
        parser.error(f"--authors: {given.authors} has no main.py; name a checkout of VICO-UoE/DatasetCondensation")
    try:
        cells = default_cells() if given.cells is None else [Cell.parse(text) for text in given.cells.split(",")]
    except (ValueError, UnknownNameError):
        parser.error(f"--cells {given.cells}: write DATASET:IPC or DATASET:IPC:METHOD:FORMATION, e.g. cifar10:10:dm:2")
    return Options(
        given.limit,
        given.out,
        given.device,
        given.scale,
        tuple(cells),
        given.authors,
        tuple(given.only.split(",")) if given.only else (),
        given.again,
    )


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}\n")


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
