"""A search from end to end: networks are trained on each proxy, then its choice on all training images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dsactl.engine.device import describe
from dsactl.engine.session import Session
from dsactl.engine.tasks import Failure
from dsactl.errors import RunError, is_out_of_memory
from dsactl.evaluation.evaluate import evaluate_cached
from dsactl.evaluation.protocol import NetworkResult
from dsactl.networks.catalogue import NetworkSpec
from dsactl.studies.nas.proxies import Budget, Proxy, SearchData
from dsactl.studies.nas.results import Row
from dsactl.studies.nas.search import TOO_MUCH_MEMORY, search
from dsactl.studies.nas.space import name_of
from dsactl.synthetic.full_data import whole_set


@dataclass(frozen=True)
class FailedNetwork:
    """A failure: of a network on a proxy, or of a proxy's choice on all images.

    Attributes:
        what: the proxy and the network.
        message: the reason.
    """

    what: str
    message: str


def rank_networks(
    made: Sequence[Proxy],
    networks: Sequence[NetworkSpec],
    searched: SearchData,
    budget: Budget,
    repeats: int,
    session: Session,
) -> Iterator[Row | FailedNetwork]:
    """Rank networks by each proxy, and test what it chooses (Section 4.6).

    Args:
        made: the proxies, in the order of training.
        networks: that can take the images.
        searched: the dataset.
        budget: of training.
        repeats: number of networks of the chosen kind to train on all images.
        session: has the store with the cache of results. Its meter counts processed training images.

    Yields:
        The row of each proxy when it is done, and failures. A proxy has no row if one of its networks failed, and a row
        without accuracies if its choice failed on all images.

    Raises:
        UsageError: too many repeats.
        registry.StoreError: the store cannot be written to.
    """
    # Training images: of all networks on each proxy, and then of the chosen one.
    passed = [len(networks) * len(proxy.synthetic) * (proxy.protocol.epochs or 1) for proxy in made]
    retrained = repeats * budget.whole_epochs * len(searched.full.train)
    total = sum(passed) + retrained * len(made)
    on_all = replace(budget.protocol(budget.whole_epochs), networks=repeats)
    where = describe(session.device, session.executor.choose(len(networks)).threads)
    whole = whole_set(searched.full)
    for index, proxy in enumerate(made):
        before = sum(passed[:index]) + retrained * index
        found = dict(search(networks, proxy, session.part(before, passed[index], total, proxy.name)))
        scores, failures = _sorted(networks, found)
        yield from (FailedNetwork(f"{proxy.name}, {name}", failure.message) for name, failure in failures.items())
        if failures:
            continue
        row = Row(proxy.name, proxy.seen, scores, (), 0.0, proxy.remark, proxy.paper, proxy.conditions(where))
        chosen = next(network for network in networks if name_of(network) == row.chosen)
        here = session.part(before + passed[index], retrained, total, f"{row.chosen} on all images")
        try:
            final = evaluate_cached(whole, searched.full, replace(on_all, network=chosen), here)
        except (RunError, RuntimeError, MemoryError) as error:  # workers died, or memory ran out
            if not isinstance(error, RunError) and not is_out_of_memory(error):
                raise
            message = error.message if isinstance(error, RunError) else TOO_MUCH_MEMORY
            yield FailedNetwork(f"{proxy.name}, {row.chosen} on all images", message)
            yield row
        else:
            yield replace(row, accuracies=final.accuracies, testing=final.seconds)


def _sorted(
    networks: Sequence[NetworkSpec], found: Mapping[NetworkSpec, NetworkResult | Failure]
) -> tuple[dict[str, NetworkResult], dict[str, Failure]]:
    """Return results and failures by the names of the networks, in their order."""
    scores, failures = dict[str, NetworkResult](), dict[str, Failure]()
    for network in networks:
        score = found[network]
        if isinstance(score, Failure):
            failures[name_of(network)] = score
        else:
            scores[name_of(network)] = score
    return scores, failures
