"""The ablations: one factor varies, the others are fixed (Tables 4 and 5, Figures 5 and 6). This loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.augmentation.strategy import KINDS, default_strategy
from dsactl.data.layout import mirrors
from dsactl.errors import UnknownNameError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.recipes import methods
from dsactl.recipes.recipe import Request
from dsactl.studies import ablations
from dsactl.studies.entries import Entry, Key
from dsactl.studies.options import about, at_least_one, checked_names, fewer, plan_of, request_of
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, keeping_finished_work, run_study

if TYPE_CHECKING:
    import registry
    from dsactl.data.dataset import Dataset
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor
    from dsactl.studies.cells import Cell
    from dsactl.studies.folder import Folder

STUDIES: dict[str, tuple[str, ...]] = {
    "schemes": ("scheme", "kind"),
    "strategies": ("strategy",),
    "init": ("init",),
    "ipc": ("method", "ipc"),
    "gradients": (),
}
"""The studies, with the names of the parts of their cells' keys."""
COMPARED = ("random", "dc", "dsa")
"""Methods that the study ipc compares by default."""


@dataclass(frozen=True)
class Ablation(Study):
    """An ablation; its options are checked when it is made.

    Attributes:
        study: "schemes" (which batches are augmented, Table 4), "strategies" (kinds of augmentation, Table 5), "init"
            (initial images, Figure 6), "ipc" (images per class and methods) or "gradients" (their norms, Figure 5).
        dataset: a dataset's name or an image folder.
        ipc: images per class; for the study ipc several.
        method: of the other studies; see `condense`.
        methods: of the study ipc; None for `COMPARED`.
        kinds: of augmentation, in the studies schemes and strategies; None for those that suit the dataset.
        schemes: rows of Table 4 in the study schemes; None for all.
        sets, networks, iterations, epochs, seed, image_size: see `Transfer`.
        arch: the network; None for the default.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit the study.
    """

    command: ClassVar[str] = "ablate"

    study: str
    dataset: str
    ipc: int | Sequence[int] = 1
    method: str = "dsa"
    methods: Sequence[str] | None = None
    kinds: Sequence[str] | None = None
    schemes: Sequence[str] | None = None
    sets: int = 1
    networks: int = 20
    iterations: int | None = None
    epochs: int | None = None
    seed: int = 0
    arch: str | None = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        if self.study not in STUDIES:
            if self.dataset in STUDIES:
                right = f'`ablate("{self.dataset}", "{self.study}")`'
                raise UsageError(f"{self.study} is not a study.", f"Give the study first: {right}")
            raise UnknownNameError("study", self.study, STUDIES)
        at_least_one(sets=self.sets, networks=self.networks, epochs=self.epochs)
        self._check_method()
        self._check_own_options()
        self.entries  # noqa: B018  (checks the options)

    def _check_method(self) -> None:
        """Refuse methods and options that do not fit the study."""
        fits = ("dsa", "dc") if self.study == "init" else ("dsa",)
        if self.study == "ipc" and self.method != "dsa":
            raise UsageError("The study ipc takes `methods`, not `method`.", f'Use `methods=["{self.method}"]`.')
        if self.method not in fits:
            raise UsageError(
                f'The study {self.study} has nothing to vary in `method="{self.method}"`.',
                f"Use {' or '.join(f'`method={name!r}`' for name in fits)}.",
            )
        if self.study == "gradients" and (self.sets != 1 or self.epochs is not None):
            raise UsageError(
                "The study gradients uses one set, and trains no network to the end.",
                "Leave out `sets` and `epochs`; `networks` sets the number of measurements.",
            )

    def _check_own_options(self) -> None:
        """Refuse options of other studies, and several images per class where one number is expected."""
        for option, studies in (
            ("methods", ("ipc",)),
            ("schemes", ("schemes",)),
            ("kinds", ("schemes", "strategies")),
        ):
            if getattr(self, option) is not None and self.study not in studies:
                raise UsageError(f"`{option}` is for {' and '.join(studies)}, not for {self.study}.", "Leave it out.")
        if len(self.numbers) > 1 and self.study != "ipc":
            raise UsageError(f"The study {self.study} takes one number of images per class.", "For example: `ipc=10`")

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of images per class, without repetitions."""
        several = (self.ipc,) if isinstance(self.ipc, int) else tuple(self.ipc)
        if not several:
            raise UsageError("No number of images per class was given.", "For example: `ipc=[1, 10]`")
        for number in several:
            at_least_one(ipc=number)
        return tuple(dict.fromkeys(several))

    @property
    def protocol(self) -> Protocol:
        """The protocol of every cell, before the study varies it."""
        return Protocol(networks=self.networks, epochs=self.epochs)

    @cached_property
    def request(self) -> Request:
        """The request of the sets, before the study varies it."""
        given = {"method": self.method, "seed": self.seed, "iterations": self.iterations, "arch": self.arch}
        return request_of(self.dataset, self.numbers[0], **given, image_size=self.image_size)

    @cached_property
    def entries(self) -> list[Entry]:
        """The cells to compute."""
        request, protocol = self.request, self.protocol
        match self.study:
            case "ipc":
                compared = checked_names(
                    COMPARED if self.methods is None else self.methods,
                    "method",
                    methods.names(),
                    "Custom methods: docs/methods.md",
                )
                return ablations.ipcs(request, self.numbers, compared, protocol)
            case "init":
                return ablations.starts(request, protocol)
            case "gradients":
                return ablations.with_and_without(request, protocol)
        suitable = default_strategy(mirrored=mirrors(request.dataset))
        chosen = None if self.kinds is None else checked_names(self.kinds, "kind of augmentation", KINDS)
        if self.study == "strategies":
            return ablations.strategies(request, chosen or suitable, protocol)
        columns = chosen or [kind for kind in ablations.SCHEME_KINDS if kind in suitable]
        known = list(ablations.SCHEMES)
        rows = known if self.schemes is None else checked_names(self.schemes, "scheme", known)
        return ablations.schemes(request, rows, columns, protocol)

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Vary the factor; see `Study.run`. The meter counts parts, see `cells.parts`."""
        from dsactl.studies.cell_study import CellStudy
        from dsactl.studies.cells import check, parts
        from dsactl.studies.folder import Folder

        job = check(self.entries, session.device)[0]
        folder = Folder(out or Path(self._own_name(job.dataset.name)), self.study, self._plan(job.dataset))
        if self.study == "gradients":
            return self._gradients(folder, session)
        pictures = len(self.entries) if self.study == "init" else 0
        total = pictures + parts(self.entries)
        if pictures:
            self._write_evolution(folder, session, total)

        def draw(cells: "Mapping[Key, Cell]") -> dict[str, bytes]:
            return self._plot(cells, f"{job.dataset.name}, {self._about()}")

        cells = CellStudy(STUDIES[self.study], self.entries, self.sets, folder, draw)
        return cells.run(session.part(pictures, total - pictures, total), job)

    def _plan(self, dataset: "Dataset") -> dict[str, Any]:
        plan = plan_of(self.request, self.sets, self.protocol, dataset)
        left_out = {"ipc": ("ipc", "method"), "gradients": ("sets", "epochs")}.get(self.study, ())
        return {name: value for name, value in plan.items() if name not in left_out}

    def _own_name(self, dataset: str) -> str:
        name = f"{dataset}-{self.study}"
        return name if self.study == "ipc" else f"{name}-{self.request.method}-ipc{self.request.ipc}"

    def _about(self) -> str:
        request = self.request
        return f"ipc{fewer(request)}" if self.study == "ipc" else f"{self.study}, {about(request)}"

    def _plot(self, cells: "Mapping[Key, Cell]", title: str) -> dict[str, bytes]:
        """Draw the study's plot of the finished cells."""
        from dsactl.studies.cell_study import in_order
        from dsactl.studies.plots import heat_map, lines, points

        rows = in_order(0, self.entries, cells)
        if self.study == "schemes":
            columns = in_order(1, self.entries, cells)
            labels = {"row_label": "scheme", "column_label": "augmentation"}
            return {"schemes.png": heat_map(rows, columns, cells, title=title, **labels)}
        picture = lines(rows, cells, title=title) if self.study == "ipc" else points(rows, cells, title=title)
        return {f"{self.study}.png": picture}

    def _write_evolution(self, folder: "Folder", session: "Session", total: int) -> None:
        """Write a strip and an animation of the images while they are learned, per initialisation (Figure 6)."""
        from dsactl.studies.evolution import animation, strip, watch_condensing

        for index, entry in enumerate(self.entries):
            (start,) = entry.key
            with keeping_finished_work():
                job, seen = watch_condensing(entry.request, session.part(index, 1, total, f"from {start}"))
            labels = range(min(job.dataset.classes, 4))
            folder.put(f"init-{start}-strip.png", strip(seen, job.dataset, labels))
            folder.put(f"init-{start}.webp", animation(seen, job.dataset))

    def _gradients(self, folder: "Folder", session: "Session") -> StudyResult:
        """Condense with and without augmentation, measure the gradient norms, and write numbers and a histogram."""
        from dsactl.studies import norms
        from dsactl.studies.gradients import CONDENSED, measure_norms

        found, count = {}, len(CONDENSED)
        with keeping_finished_work():
            for index, (name, entry) in enumerate(zip(CONDENSED, self.entries, strict=True)):
                found[name] = measure_norms(entry.request, self.networks, session.part(index, 1, count, name))
        return norms.write(folder, found, self.request)


def ablate(
    study: str,
    dataset: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
    **options: Any,
) -> StudyResult:
    """Vary one factor of condensing and fix the others (Tables 4 and 5, Figures 5 and 6, for any dataset).

    Stored sets and cached results are reused, and an interrupted study is resumed.

    Args:
        study: "schemes", "strategies", "init", "ipc" or "gradients"; see `Ablation`.
        dataset: a dataset's name or an image folder.
        out, device, store, executor, progress: see `dsactl.studies.study.run_study`.
        options: attributes of `Ablation`, e.g. `ipc=[1, 10]`, `methods=["random", "dsa"]`, `networks=5`.

    Raises:
        dsactl.Error: bad input; the store or the folder cannot be written to; the extra "studies" is not installed.

    Examples:
        >>> import dsactl
        >>> result = dsactl.ablate("ipc", "digits", ipc=[1, 2], methods=["random"], arch="mlp", networks=1, epochs=1)
        >>> [cell["ipc"] for cell in result.values["cells"]]
        ['1', '2']
    """
    return run_study(Ablation.of(study=study, dataset=dataset, **options), out, device, store, executor, progress)
