"""Cells of tables: sets of one recipe, and the pooled accuracies of networks that are trained on them.

This module stores nothing itself. Finished sets are found by their runs, and accuracies in the cache, whichever study
or command produced them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

import registry
from dsactl.engine.session import Session
from dsactl.errors import RunError
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import Evaluation, Sample
from dsactl.networks.build import structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import MeanStd
from dsactl.recipes.methods import WHOLE
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, Job, prepare
from dsactl.runs.parallel import make_all
from dsactl.runs.run import Outcome, execute
from dsactl.studies.entries import Entry
from dsactl.synthetic.full_data import whole_set
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store


@dataclass(frozen=True)
class Cell(Sample):
    """The results of one cell.

    Attributes:
        references, digests: of its sets.
        network: label of the trained networks.
        accuracies: of every network on every set, percent.
        epochs, augmentation, device, program: see `Evaluation`.
        made_in: the programs and environments that made the sets; empty for a whole dataset.
        making, testing: seconds of making the sets, which other cells may share, and of training and testing the
            networks, in this or an earlier call.
        paper: the paper's mean and standard deviation; None if it has none.
        comparable, remark: see `Entry`.
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
    paper: MeanStd | None
    comparable: bool = True
    remark: str = ""

    @property
    def in_words(self) -> str:
        """The mean and standard deviation as text; only the mean for one network."""
        return f"{self.mean:.1f}" if self.n == 1 else f"{self.mean:.1f} ± {self.std:.1f}"

    @property
    def paper_in_words(self) -> str:
        """The paper's mean and standard deviation as text, or a dash."""
        return f"{self.paper[0]:.1f} ± {self.paper[1]:.1f}" if self.paper else "–"

    @property
    def deviations(self) -> float | None:
        """The difference from the paper's mean in its standard deviations; None if the two are not comparable."""
        if self.paper is None or not self.paper[1] or not self.comparable:
            return None
        return (self.mean - self.paper[0]) / self.paper[1]


def fill(
    entries: Sequence[Entry],
    sets: int,
    session: Session,
    like: Job | None = None,
) -> Iterator[tuple[Entry, Cell | RunError]]:
    """Condense and evaluate, cell by cell.

    Args:
        entries: of the cells; those with the same request should be adjacent.
        sets: number of sets per request, with derived seeds.
        session: has the store, for the sets and the cache of results. Its meter counts parts, see `parts`.
        like: a job that may have loaded the dataset already.

    Yields:
        Each entry with its finished cell; or with the error of a run that failed, after which the others continue.

    Raises:
        dsactl.Error: a request cannot be used; see `check`.
    """
    total = parts(entries)
    before = 0
    for request, group in itertools.groupby(entries, lambda entry: entry.request):
        cells = list(group)
        known = _make(request, sets, session.part(before, 1, total, ":".join(cells[0].key)), like)
        like = known.job if isinstance(known, _Sets) else like
        before += 1
        for entry in cells:
            yield entry, _measure(known, entry, session.part(before, 1, total, ":".join(entry.key)))
            before += 1


def parts(entries: Sequence[Entry]) -> int:
    """Return the number of parts that `fill` reports: requests that differ from the previous one, and cells."""
    return len(entries) + sum(1 for _ in itertools.groupby(entries, lambda entry: entry.request))


def check(entries: Sequence[Entry], device: str | torch.device = "auto") -> list[Job]:
    """Refuse entries that cannot be condensed or evaluated, before any work is done.

    Returns:
        The job of each entry.

    Raises:
        dsactl.Error: an entry cannot be condensed or evaluated.
    """
    found: list[Job] = []
    for entry in entries:
        job = prepare(_request(entry.request), device, found[-1] if found else None)
        tested = entry.protocol.network or (job.recipe.network or NetworkSpec()).instance_twin
        structure(tested, job.dataset.channels, job.dataset.size, job.dataset.classes)
        found.append(job)
    return found


def _request(request: Request) -> Request:
    """Return a request that can be prepared: a whole dataset is loaded by a request for a set of it."""
    return replace(request, method="random", ipc=1) if request.method == WHOLE else request


def make_one(request: Request, session: Session) -> tuple[Job, registry.StoredSet]:
    """Make one set, or look it up.

    Args:
        request: of the set.
        session: has the store, where the set goes.

    Raises:
        dsactl.Error: the request cannot be used, see `prepare`; the store cannot be written to.
        RunError: another process makes the set (`BusyError`); a checkpoint is damaged or from another device; the
            images diverged.
        KeyboardInterrupt: passed on after the checkpoint is written.
    """
    job = prepare(request, session.device).within(STUDIES)
    return job, execute(job, session).stored


@dataclass(frozen=True)
class _Sets:
    job: Job
    made: list[SyntheticSet]
    made_in: tuple[str, ...]
    seconds: float


def _make(
    request: Request,
    sets: int,
    session: Session,
    like: Job | None,
) -> _Sets | RunError:
    """Make the sets of a request, or look them up; return the error of one that failed, when the others are made."""
    job = prepare(_request(request), session.device, like)
    if request.method == WHOLE:
        return _Sets(job, [whole_set(job.dataset)], (), 0.0)

    wanted = [job.with_seed(index).within(STUDIES) for index in range(sets)]
    found = dict(make_all(wanted, session))
    for outcome in found.values():
        if isinstance(outcome, RunError):
            return outcome
    outcomes = [outcome for _, outcome in sorted(found.items()) if isinstance(outcome, Outcome)]
    about = [outcome.stored.manifest.provenance for outcome in outcomes]
    made_in = dict.fromkeys(f"{each.get('program')}, {each.get('environment')}" for each in about)
    made = [from_store(session.store, outcome.stored) for outcome in outcomes]
    return _Sets(job, made, tuple(made_in), sum(outcome.seconds for outcome in outcomes))


def _measure(sets: _Sets | RunError, entry: Entry, session: Session) -> Cell | RunError:
    """Evaluate sets and pool the accuracies, or return the error of the sets or of their evaluation."""
    if isinstance(sets, RunError):
        return sets
    results: list[Evaluation] = []
    count = len(sets.made)
    for index, synthetic in enumerate(sets.made):
        here = session.part(index, 1, count, f"set {index + 1} of {count}" if count > 1 else "networks")
        try:
            results.append(evaluate_cached(synthetic, sets.job.dataset, entry.protocol, here))
        except RunError as error:
            return error
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
