"""Tables and figures of the paper with our results next to its own, as documents. Importing this loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.engine.arguments import check_real, check_seed
from dsactl.errors import DataError, UnknownNameError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.recipes.recipe import Request
from dsactl.studies.clock.study import NAME as CLOCK
from dsactl.studies.clock.study import Clock
from dsactl.studies.entries import Entry, Key
from dsactl.studies.options import at_least_one
from dsactl.studies.papers import Plan, plan, scaled_request
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, keeping_finished_work, run_study
from dsactl.studies.titles import FIGURES, PARTS, TABLES
from dsactl.text.formatting import many
from registry import MissingPackageError

if TYPE_CHECKING:
    import registry
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor
    from dsactl.studies.cells import Cell
    from dsactl.studies.figures import Part
    from dsactl.studies.folder import Folder

KNOWN = (*TABLES, *FIGURES, CLOCK)
_WITHOUT_PLOT = ("figure2", "figure6")


@dataclass(frozen=True)
class Reproduction(Study):
    """A table or figure of the paper; its options are checked when it is made.

    Attributes:
        table: "table1" to "table5", "figure2", "figure5" or "figure6".
        only: beginnings of the keys of the cells to compute, such as "mnist:1"; for a figure names of its parts; None
            for all.
        sets: number of sets per cell; 5 in the paper.
        networks: number of networks per set and cell; 20 in the paper.
        scale: factor on the iterations of iterative methods, above 0 and at most 1.
        seed: the random seed.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """

    command: ClassVar[str] = "reproduce"

    table: str
    only: Sequence[str] | None = None
    sets: int = 5
    networks: int = 20
    scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.table not in (*TABLES, *FIGURES):
            raise UnknownNameError("table", self.table, KNOWN)
        check_seed(self.seed)
        at_least_one(sets=self.sets, networks=self.networks)
        check_real("scale", self.scale)
        if not 0 < self.scale <= 1:
            raise UsageError(f"`scale` must be above 0 and at most 1, not {self.scale}.")
        if self.only is not None and not self.only:
            raise UsageError("No cell was given.", "Leave out `only` for all of them.")
        for name in (self.only or ()) if self.is_figure else ():
            if name not in PARTS[self.table]:
                raise UsageError(f"{self.table} has no part {name}.", f"Parts: {', '.join(PARTS[self.table])}.")
        self.entries  # noqa: B018  (checks the names of cells)

    def require_packages(self) -> None:
        if self.table not in _WITHOUT_PLOT:
            super().require_packages()

    @property
    def is_figure(self) -> bool:
        """Whether this is a figure."""
        return self.table in FIGURES

    @cached_property
    def plan(self) -> Plan:
        """The whole table."""
        return plan(self.table, self.sets, self.networks, self.scale, self.seed)

    @cached_property
    def entries(self) -> list[Entry]:
        """The cells to compute; for a figure those of its sets."""
        if not self.is_figure:
            return list((self.plan if self.only is None else self.plan.only(self.only)).entries)
        return []

    def figure_entries(self) -> list[Entry]:
        """Return an entry for each set of a figure, for the estimate of its cost."""
        return [
            Entry(
                (part.name, str(request.settings.get("init", "set") if request.strategy is None else request.strategy)),
                request,
                Protocol(),
                watched=part.watched,
            )
            for part in self._parts()
            for request in part.requests
        ]

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Compute the cells, or draw the pictures; see `Study.run`. The document is updated after each.

        The meter counts parts, see `cells.parts`, or pictures.
        """
        from dsactl.studies.cell_study import CellStudy
        from dsactl.studies.folder import Folder

        settings: dict[str, float] = {"scale": self.scale, "seed": self.seed}
        if self.is_figure:
            if self.table == "figure5":
                settings["networks"] = self.networks
            return self._draw(Folder(out or Path(self.table), self.table, settings), session)
        possible = self._possible(session)
        settings |= {"sets": self.sets, "networks": self.networks}
        folder = Folder(out or Path(self.table), self.table, settings)

        def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
            return _document(self.plan, folder, cells)

        result = CellStudy(self.plan.names, possible, self.sets, folder, draw).run(session)
        left = len(self.entries) - len(result.values["cells"])
        return replace(result, failed=f"{left} of {len(self.entries)} cells" if left else "")

    def _possible(self, session: "Session") -> list[Entry]:
        """Return the cells whose dataset can be loaded, and tell the meter of those whose dataset cannot.

        Raises:
            DataError, MissingPackageError: no dataset can be loaded.
        """
        from dsactl.studies.cells import check

        wrong: dict[str, DataError | MissingPackageError] = {}
        for name in dict.fromkeys(entry.request.dataset for entry in self.entries):
            try:
                check([entry for entry in self.entries if entry.request.dataset == name], session.device)
            except (DataError, MissingPackageError) as error:
                wrong[name] = error
        left = [entry for entry in self.entries if entry.request.dataset not in wrong]
        if not left:
            raise next(iter(wrong.values()))
        for name, fault in wrong.items():
            session.progress.fail(f"Cells of {name} are skipped: {fault.message}", fault.hint)
        return left

    def _parts(self) -> "list[Part]":
        """Return the pictures of a figure that are to be drawn."""
        from dsactl.studies.figures import parts

        every = parts(self.table, scaled_request(self.scale, self.seed), self.networks)
        return [part for part in every if self.only is None or part.name in self.only]

    def _draw(self, folder: "Folder", session: "Session") -> StudyResult:
        """Draw the pictures of a figure, and update the document after each; pictures of earlier calls are kept."""
        from dsactl.data.load import check_name

        wanted, figure = self._parts(), self.table
        for part in wanted:
            for request in part.requests:
                check_name(request.dataset)
        folder.add({}, ())
        for index, part in enumerate(wanted):
            with keeping_finished_work():
                picture = part.make(session.part(index, 1, len(wanted), part.name))
            folder.put(f"{figure}-{part.name}.png", picture)
            folder.put(f"{figure}-{part.name}.txt", f"{part.caption}; {part.origin(session)}\n".encode())
            _write_figure(figure, folder)
        files = tuple(f"{figure}-{part.name}.png" for part in wanted)
        return StudyResult(
            folder.path,
            {"folder": str(folder.path), "pictures": list(files)},
            remarks=(f"{many(len(wanted), 'picture')} of {FIGURES[figure]}.",),
            files=(*files, f"{figure}.html", f"{figure}.md"),
        )


def study_of(table: str, **options: Any) -> "Reproduction | Clock":
    """Return the study that `reproduce` runs.

    Args:
        table: a name of `KNOWN`.
        options: attributes of the study.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """
    own, other = (Clock, Reproduction) if table == CLOCK else (Reproduction, Clock)
    for name in options:
        known, others = ({each.name for each in fields(kind)} for kind in (own, other))
        if name in others - known:
            raise UsageError(f"`{name}` is not for {table}.", "Leave it out.")
    return Clock.of(**options) if table == CLOCK else Reproduction.of(table=table, **options)


def reproduce(
    table: str,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
    **options: Any,
) -> StudyResult:
    """Reproduce a table or figure of the paper, as a document with the paper's results next to ours; or measure
    accuracy over the minutes that making a set takes.

    Stored sets and cached results are reused, and an interrupted call is resumed.

    Args:
        table: "table1" to "table5", "figure2", "figure5" or "figure6"; or "clock".
        out, device, store, executor, progress: see `dsactl.studies.study.run_study`.
        options: attributes of `Reproduction`, e.g. `only=["mnist:1"]`, `sets=1`, `networks=5`, `scale=0.1`; for "clock"
            of `Clock`, e.g. `dataset=["cifar10"]`, `ipc=[1]`, `minutes=10`.

    Raises:
        dsactl.Error: bad input; the store or the folder cannot be written to; the extra "studies" is not installed.

    Examples:
        >>> import dsactl
        >>> result = dsactl.reproduce("table3", only=["convnet:mlp"], sets=1, networks=5)  # doctest: +SKIP
        >>> print(result)  # doctest: +SKIP
    """
    return run_study(study_of(table, **options), out, device, store, executor, progress)


def _document(plan: Plan, folder: "Folder", cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
    """Return the document of the finished cells in Markdown and HTML, with its plots, by file name."""
    from dsactl.studies.document import Document, to_html, to_markdown
    from dsactl.studies.plots import against_the_paper

    done = {entry.key: cells[entry.key] for entry in plan.entries if entry.key in cells}
    paper = [cell for cell in done.values() if cell.paper]
    ours = (
        "The paper quotes the results of random, herding and forgetting from the DC paper; networks are trained on "
        "these sets as in DC: without augmentation, except on MNIST. The number of training epochs of the networks by "
        "which herding and forgetting select is our choice. The results of dd and ld are quoted from their authors, "
        "who use other networks and training. The paper does not state the epochs and augmentation of whole. For "
        "these methods the difference means little and is omitted."
    )
    text = [
        "Test accuracy in percent, mean ± population standard deviation over n networks: 5 sets × 20 networks and "
        "1000 iterations in the paper. Each cell states what was scaled down; with fewer iterations it is not "
        "comparable, and the difference is omitted.",
        f"Seed {folder.plan['seed']}. Time covers making the sets of a cell, which cells may share, and training and "
        "testing its networks.",
        *([ours] if plan.name in ("table1", "table2") else []),
    ]
    pictures, files = {}, {}
    if paper:
        plot = against_the_paper({" ".join(key): cell for key, cell in done.items() if cell.paper})
        pictures["Our accuracy over the paper's, with standard deviations; equal on the line"] = plot
        files[f"{plan.name}.png"] = plot
    document = Document(plan.title, text, plan.names, done, len(plan.entries), pictures)
    names = dict(zip(pictures, files, strict=True))
    files[f"{plan.name}.md"] = to_markdown(document, names).encode()
    files[f"{plan.name}.html"] = to_html(document).encode()
    return files


def _write_figure(figure: str, folder: "Folder") -> None:
    """Write the document with all pictures in the folder."""
    from dsactl.studies.document import Document, to_html, to_markdown
    from dsactl.studies.figures import parts

    every = parts(figure, Request("", 1), 0)
    captions = {folder.path / f"{figure}-{part.name}.txt": f"{figure}-{part.name}.png" for part in every}
    files = {path.read_text().strip(): picture for path, picture in captions.items() if path.exists()}
    text = [f"Seed {folder.plan['seed']}."]
    pictures = {caption: (folder.path / name).read_bytes() for caption, name in files.items()}
    document = Document(FIGURES[figure], text, (), {}, len(every), pictures)
    folder.put(f"{figure}.md", to_markdown(document, files).encode())
    folder.put(f"{figure}.html", to_html(document).encode())
