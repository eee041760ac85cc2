"""A cell of a table: sets of one recipe, and what networks that are trained on them reach, pooled.

Nothing is kept here. Sets are found again by their runs and accuracies by their records, so that whatever was finished
before is only looked up, by whichever study or command it was made.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

import registry
from dsactl import jobs, runs
from dsactl.evaluation import Evaluation, Protocol
from dsactl.measured import measure
from dsactl.paper import Figure
from dsactl.recipe import Request
from dsactl.sitting import Progress
from dsactl.synthetic import SyntheticSet, from_store

Report = Callable[[float, float, str], None]
"""Told how much is done, of how much, and what is done now."""


@dataclass(frozen=True)
class Cell:
    """What was measured for one cell.

    Attributes:
        references, digests: of its sets.
        network: label of the networks that were trained.
        accuracies: of every network on every set, percent.
        epochs, augmentation, device: as of `Evaluation`.
        seconds: of making the sets, and of training and testing the networks, whenever that was.
        paper: the paper's mean and standard deviation; None where it has none.
    """

    references: tuple[str, ...]
    digests: tuple[str, ...]
    network: str
    accuracies: tuple[float, ...]
    epochs: int
    augmentation: str
    device: str
    seconds: float
    paper: Figure | None

    @property
    def n(self) -> int:
        """How many networks."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy, percent."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Population standard deviation of the accuracies, percent."""
        return statistics.pstdev(self.accuracies)

    @property
    def deviations(self) -> float | None:
        """How far the mean is from the paper's, in the paper's standard deviations; None where that is unknown or 0."""
        return (self.mean - self.paper[0]) / self.paper[1] if self.paper and self.paper[1] else None


def make_sets(
    store: registry.Store, request: Request, sets: int, device: str, report: Report
) -> tuple[jobs.Job, list[SyntheticSet], float]:
    """Make the sets of a request, or find them made.

    Args:
        store: keeps them.
        request: what to make.
        sets: how many, with derived seeds.
        device: as of `condense`.
        report: told of inner steps.

    Returns:
        The job of the first, the sets, and the seconds that making them took.
    """
    job = jobs.prepare(request, device)
    made, seconds = [], 0.0
    for index in range(sets):

        def tell(progress: Progress, index: int = index) -> None:
            what = f"set {index + 1} of {sets}: {progress.doing}" if sets > 1 else progress.doing
            report(index + progress.done / max(progress.total, 1), sets, what)

        outcome = runs.execute(job.with_seed(index), store, report=tell)
        made.append(from_store(store, outcome.stored))
        seconds += outcome.seconds
    return job, made, seconds


def measure_sets(
    store: registry.Store,
    job: jobs.Job,
    made: Sequence[SyntheticSet],
    protocol: Protocol,
    report: Report,
    *,
    made_in: float = 0.0,
    paper: Figure | None = None,
) -> Cell:
    """Evaluate sets and pool the accuracies.

    Args:
        store: keeps the records.
        job: of the sets.
        made: the sets.
        protocol: of each.
        report: told of networks.
        made_in: seconds that making them took.
        paper: the figure to stand beside; if not given, the one that the evaluations have.
    """
    results: list[Evaluation] = []
    total = len(made) * protocol.networks
    for index, synthetic in enumerate(made):

        def tell(done: float, index: int = index) -> None:
            report(index * protocol.networks + done, total, f"training network {min(int(done) + 1, protocol.networks)}")

        results.append(measure(store, synthetic, job.dataset, protocol, torch.device(job.device), tell))
    first = results[0]
    return Cell(
        tuple(result.reference for result in results),
        tuple(result.digest for result in results),
        first.network,
        tuple(accuracy for result in results for accuracy in result.accuracies),
        first.epochs,
        first.augmentation,
        first.device,
        made_in + sum(result.seconds for result in results),
        paper or first.paper,
    )
