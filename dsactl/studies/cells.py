"""A cell of a table: sets of one recipe, and what networks that are trained on them reach, pooled.

Nothing is kept here. Sets are found again by their runs and accuracies by their records, so that whatever was finished
before is only looked up, by whichever study or command it was made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import registry
from dsactl.engine.tasks import Workers
from dsactl.errors import RunError
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import Evaluation, Sample
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import Figure
from dsactl.recipes.methods import WHOLE
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, Job, prepare
from dsactl.runs.parallel import make_all
from dsactl.runs.run import Outcome, execute
from dsactl.studies.entries import Entry
from dsactl.synthetic.full_data import whole_set
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store

Steps = Callable[[float, int, str], None]
"""Told how many parts are done, of how many, and what is done now."""


@dataclass(frozen=True)
class Cell(Sample):
    """What was measured for one cell.

    Attributes:
        references, digests: of its sets.
        network: label of the networks that were trained.
        accuracies: of every network on every set, percent.
        epochs, augmentation, device, program: as of `Evaluation`.
        made_in: the programs and environments that the sets were made by; empty for a whole data set.
        making, testing: seconds of making the sets, which other cells may share, and of training and testing the
            networks, whenever that was.
        paper: the paper's mean and standard deviation; None where it has none.
        comparable, remark: as of `Entry`.
    """

    references: tuple[str, ...]
    digests: tuple[str, ...]
    network: str
    accuracies: tuple[float, ...]
    epochs: int
    augmentation: str
    device: str
    program: str
    made_in: tuple[str, ...]
    making: float
    testing: float
    paper: Figure | None
    comparable: bool = True
    remark: str = ""

    @property
    def in_words(self) -> str:
        """Mean and deviation; one network has no deviation."""
        return f"{self.mean:.1f}" if self.n == 1 else f"{self.mean:.1f} ± {self.std:.1f}"

    @property
    def paper_in_words(self) -> str:
        """The paper's mean and deviation, or a dash."""
        return f"{self.paper[0]:.1f} ± {self.paper[1]:.1f}" if self.paper else "–"

    @property
    def deviations(self) -> float | None:
        """How far the mean is from the paper's, in the paper's standard deviations; None where that means nothing."""
        if self.paper is None or not self.paper[1] or not self.comparable:
            return None
        return (self.mean - self.paper[0]) / self.paper[1]


def fill(
    entries: Sequence[Entry],
    sets: int,
    store: registry.Store,
    device: str = "auto",
    report: Steps = lambda done, total, doing: None,
    like: Job | None = None,
    workers: Workers | None = None,
) -> Iterator[tuple[Entry, Cell | RunError]]:
    """Make and measure cell after cell.

    Args:
        entries: of the cells; those of one request should follow each other.
        sets: of each request, with derived seeds.
        store: keeps sets and records.
        device: as of `condense`.
        report: told of parts: the sets of each request are one, and each cell's evaluation is another.
        like: a job that may have the data set already.
        workers: who makes the sets, and trains the networks that are tested; None for this process.

    Yields:
        Each entry with its cell, as it is finished; or with the error of a run that failed, after which the next
        follows.

    Raises:
        dsactl.Error: of a request, when its turn comes; see `check`.
    """
    total = parts(entries)
    known: _Sets | None = None
    before = 0
    for entry in entries:
        fresh = known is None or known.request != entry.request
        what = ":".join(entry.key)

        def tell(part: int, done: float, doing: str, before: int = before, what: str = what) -> None:
            report(before + part + done, total, f"{what}: {doing}")

        try:
            if known is None or fresh:
                job = known.job if known else like
                known = _make(store, entry.request, sets, device, job, partial(tell, 0), workers)
            cell: Cell | RunError = _measure(store, known, entry, partial(tell, int(fresh)), workers)
        except RunError as error:
            cell = error
        before += 1 + fresh
        yield entry, cell


def parts(entries: Sequence[Entry]) -> int:
    """What `fill` reports of: requests that differ from the one before, and cells."""
    return len(entries) + sum(
        index == 0 or entries[index - 1].request != entry.request for index, entry in enumerate(entries)
    )


def check(entries: Sequence[Entry], device: str = "auto") -> list[Job]:
    """Refuse what cannot be made or evaluated, before anything is.

    Returns:
        The job of each entry.

    Raises:
        dsactl.Error: names what cannot work, and why.
    """
    found: list[Job] = []
    for entry in entries:
        job = prepare(_request(entry.request), device, found[-1] if found else None)
        tested = entry.protocol.network or (job.recipe.network or NetworkSpec()).instance_twin
        structure(tested, job.dataset.channels, job.dataset.size, job.dataset.classes)
        found.append(job)
    return found


def _request(request: Request) -> Request:
    """What can be prepared: a whole data set is not made, but loaded as for any set."""
    return replace(request, method="random", ipc=1) if request.method == WHOLE else request


def make_one(request: Request, store: registry.Store, device: str, report: Steps) -> tuple[Job, registry.StoredSet]:
    """Make one set, or find it made.

    Args:
        request: of the set.
        store: keeps it.
        device: as of `condense`.
        report: told of steps.

    Raises:
        dsactl.Error: of the request, see `prepare`; the store cannot be written to.
        RunError: another process makes it (`BusyError`); a checkpoint is damaged or of another device; the
            images diverged.
        KeyboardInterrupt: as it came, after the checkpoint is written.
    """
    job = prepare(request, device).within(STUDIES)
    outcome = execute(job, store, report=lambda step: report(step.done, step.total, str(step)))
    return job, outcome.stored


@dataclass(frozen=True)
class _Sets:
    request: Request
    job: Job
    made: list[SyntheticSet]
    made_in: tuple[str, ...]
    seconds: float


def _make(
    store: registry.Store,
    request: Request,
    sets: int,
    device: str,
    like: Job | None,
    report: Callable[[float, str], None],
    workers: Workers | None,
) -> _Sets:
    """Make the sets of a request, or find them made."""
    job = prepare(_request(request), device, like)
    if request.method == WHOLE:
        return _Sets(request, job, [whole_set(job.dataset)], (), 0.0)

    wanted = [job.with_seed(index).within(STUDIES) for index in range(sets)]
    found = dict(make_all(wanted, store, workers, report))
    for outcome in found.values():
        if isinstance(outcome, RunError):
            raise outcome  # when the others are made
    outcomes = [outcome for _, outcome in sorted(found.items()) if isinstance(outcome, Outcome)]
    about = [outcome.stored.manifest.provenance for outcome in outcomes]
    made_in = dict.fromkeys(f"{each.get('program')}, {each.get('environment')}" for each in about)
    made = [from_store(store, outcome.stored) for outcome in outcomes]
    return _Sets(request, job, made, tuple(made_in), sum(outcome.seconds for outcome in outcomes))


def _measure(
    store: registry.Store, sets: _Sets, entry: Entry, report: Callable[[float, str], None], workers: Workers | None
) -> Cell:
    """Evaluate sets and pool the accuracies."""
    results: list[Evaluation] = []
    networks = entry.protocol.networks
    total = len(sets.made) * networks
    for index, synthetic in enumerate(sets.made):

        def tell(done: float, index: int = index) -> None:
            before = index * networks + done
            report(before / total, f"network {min(int(before) + 1, total)} of {total}")

        where = (sets.job.dataset, entry.protocol, sets.job.device)
        results.append(evaluate_cached(store, synthetic, *where, tell, workers=workers))
    first = results[0]
    return Cell(
        tuple(result.reference for result in results),
        tuple(result.digest for result in results),
        first.network,
        tuple(accuracy for result in results for accuracy in result.accuracies),
        first.epochs,
        first.augmentation,
        first.device,
        first.program,
        sets.made_in,
        sets.seconds,
        sum(result.seconds for result in results),
        entry.paper or first.paper,
        entry.comparable,
        entry.remark,
    )
