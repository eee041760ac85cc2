"""Architecture search with proxies (Section 4.6, Table 6). Importing this loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.data.load import check_name
from dsactl.engine.arguments import check_seed
from dsactl.errors import UsageError
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.nas import proxy_names, space
from dsactl.studies.options import at_least_one
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, keeping_finished_work, run_study
from dsactl.text.formatting import many

if TYPE_CHECKING:
    import registry
    from dsactl.engine.progress import Progress
    from dsactl.engine.session import Session
    from dsactl.engine.tasks import Executor
    from dsactl.studies.nas.proxies import Budget, Proxy, SearchData

PROXIES = ("random", "early-stopping", "whole")
"""The proxies that are compared by default."""
_PAPER_NETWORKS = 720


@dataclass(frozen=True)
class PreparedSearch:
    """A search with everything that it needs.

    Attributes:
        data: the dataset.
        networks: those to rank, which can take the images.
        budget: of training.
        proxies: in the order of training.
    """

    data: "SearchData"
    networks: Sequence[NetworkSpec]
    budget: "Budget"
    proxies: "Sequence[Proxy]"

    @property
    def is_papers(self) -> bool:
        """Whether dataset, networks and training are the paper's."""
        return self.data.full.name == "cifar10" and len(self.networks) == _PAPER_NETWORKS and self.budget.is_papers


@dataclass(frozen=True)
class ArchitectureSearch(Study):
    """A search among 720 ConvNets; its options are checked when it is made.

    Attributes:
        dataset: a dataset's name or an image folder.
        proxies: by which the networks are ranked: "random", "early-stopping", "whole", or a set's reference.
        where: conditions on the networks, e.g. "depth<=3,norm=batch|group"; None for none.
        sample: number of networks to sample, by the seed; None for all.
        ipc: images per class of the proxy random.
        epochs: of training on a proxy set; early stopping gets the same number of steps.
        whole_epochs: of training on all images.
        batch: batch size; None for 256, and 100 for early stopping.
        repeats: number of trainings of each chosen network on all images.
        seed: the random seed.
        image_size: side of a folder's images in pixels.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """

    command: ClassVar[str] = "nas"
    packages: ClassVar[tuple[str, ...]] = ("matplotlib", "scipy")

    dataset: str
    proxies: Sequence[str] = PROXIES
    where: str | None = None
    sample: int | None = None
    ipc: int = 10
    epochs: int = 300
    whole_epochs: int = 100
    batch: int | None = None
    repeats: int = 5
    seed: int = 0
    image_size: int | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        at_least_one(ipc=self.ipc, epochs=self.epochs, whole_epochs=self.whole_epochs, repeats=self.repeats)
        at_least_one(sample=self.sample, batch=self.batch)
        if not self.proxies:
            raise UsageError("No proxy was given.", f"Known: {', '.join(PROXIES)}, or a set's reference.")
        check_name(self.dataset, image_size=self.image_size)
        self._wanted()

    def check_proxies(self, store: "registry.Store") -> None:
        """Refuse proxies that are neither known words nor sets.

        Raises:
            UsageError: one is neither.
        """
        for word in self.proxies:
            proxy_names.check(word, store)

    def prepare(self, session: "Session", *, pretend: bool = False) -> PreparedSearch:
        """Load the dataset, and make the proxies' sets that are not in the store.

        Args:
            session: its meter is told of remarks.
            pretend: use other images instead of making sets, for an estimate of the cost.

        Raises:
            UsageError: no network can take the images; a proxy cannot be used.
            dsactl.Error: the dataset cannot be loaded.
        """
        from dsactl.engine.device import resolve_precision
        from dsactl.studies.nas import proxies

        self.check_proxies(session.store)
        data = proxies.load(self.dataset, self.image_size)
        networks = self._fitting(data, session.progress)
        precision = resolve_precision("auto", session.device)
        budget = proxies.Budget(self.ipc, self.epochs, self.whole_epochs, self.batch, self.seed, precision)
        words = dict.fromkeys(self.proxies)
        made = [proxies.make(word, data, budget, session, pretend=pretend) for word in words]
        for each in made:
            if each.remark:
                session.progress.remark(each.remark)
        return PreparedSearch(data, networks, budget, made)

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Rank the networks by each proxy, and test what it chooses; see `Study.run`.

        The meter counts processed training images.
        """
        from dsactl.studies.folder import Folder
        from dsactl.studies.nas.results import Row, result_of, write
        from dsactl.studies.nas.study import FailedNetwork, rank_networks

        prepared = self.prepare(session.part(0, 0, 1))
        folder = Folder(out or Path(f"{prepared.data.full.name}-nas"), "nas", self._plan(prepared))
        rows: list[Row] = []
        failed, every = 0, write(folder, rows)
        with keeping_finished_work(lambda: f"{len(rows)} of {len(prepared.proxies)} proxies are done"):
            data, budget = prepared.data, prepared.budget
            for found in rank_networks(prepared.proxies, prepared.networks, data, budget, self.repeats, session):
                if isinstance(found, FailedNetwork):
                    session.progress.fail(f"{found.what}: {found.message}")
                    failed += 1
                else:
                    rows.append(found)
                    every = write(folder, rows)
        result = result_of(folder, every, with_paper=prepared.is_papers)
        return replace(result, failed=many(failed, "network") if failed else "")

    def _wanted(self) -> list[NetworkSpec]:
        """Return the networks that satisfy the conditions."""
        wanted = space.space() if self.where is None else space.where(space.space(), self.where)
        if not wanted:
            raise UsageError(f"No network in the search space satisfies {self.where}.", f"Choices: {space.CHOICES}.")
        return wanted

    def _fitting(self, data: "SearchData", progress: "Progress") -> list[NetworkSpec]:
        """Return the networks that can take the images, or a sample of them."""
        from dsactl.studies.nas.search import fitting

        wanted = self._wanted()
        found = fitting(wanted, data.full)
        if len(found) < len(wanted):
            shape = data.full.shape_text
            progress.remark(f"{len(wanted) - len(found)} of {len(wanted)} networks are too deep for {shape} images.")
        if not found:
            raise UsageError("No network is left.", "Allow a smaller depth or use larger images, e.g. NAME@1x16x16.")
        return found if self.sample is None else space.sample(found, self.sample, self.seed)

    def _plan(self, prepared: PreparedSearch) -> dict[str, Any]:
        full = prepared.data.full
        names = ("ipc", "epochs", "whole_epochs", "batch", "repeats", "seed")
        return {
            "dataset": full.name,
            "images": full.checksums,
            "where": self.where,
            "sample": self.sample,
            "networks": len(prepared.networks),
            **{name: getattr(self, name) for name in names},
        }


def nas(
    dataset: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    store: "registry.Store | None" = None,
    executor: "Executor | None" = None,
    progress: "Progress | None" = None,
    **options: Any,
) -> StudyResult:
    """Search architectures with proxies: rank ConvNets by each proxy, and test what it chooses (Section 4.6, Table 6).

    Results of trained networks are cached, and an interrupted search is resumed.

    Args:
        dataset: a dataset's name or an image folder.
        out, device, store, executor, progress: see `dsactl.studies.study.run_study`.
        options: attributes of `ArchitectureSearch`, e.g. `proxies=["random"]`, `where="depth<=2"`, `sample=72`.

    Raises:
        dsactl.Error: bad input; the store or the folder cannot be written to; the extra "studies" is not installed.

    Examples:
        >>> import dsactl
        >>> result = dsactl.nas("digits", proxies=["random"], sample=1, where="depth=1,width=32,norm=none", ipc=1,
        ...     epochs=1, whole_epochs=1, repeats=1)
        >>> result.values["rows"][0]["proxy"]
        'random'
    """
    return run_study(ArchitectureSearch.of(dataset=dataset, **options), out, device, store, executor, progress)
