"""Spearman's correlation of a proxy's ranking of networks with that on all images (Section 4.6)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SHARES = (0.05, 0.1, 0.2, 1.0)
"""Fractions of the networks, the best by the proxy, that are correlated; the paper reports the first."""
FEWEST = 3
"""Networks that a correlation needs."""
FEWEST_DRAWN = 10
"""Networks that a bootstrap interval needs."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Correlation:
    """The correlation of a proxy with training on all images.

    Attributes:
        share: fraction of all networks, the best by the proxy.
        networks: number of these; ties with the last of them are included.
        spearman: −1 … 1; None if there are too few networks, or one of the rankings has only ties.
        low, high: 95 % bootstrap interval over these networks; None without a correlation, or for fewer than
            `FEWEST_DRAWN` networks.
    """

    share: float
    networks: int
    spearman: float | None
    low: float | None
    high: float | None


def correlations(proxy: Sequence[float], whole: Sequence[float]) -> list[Correlation]:
    """Return the correlation over the best networks by the proxy, for each of `SHARES`.

    Args:
        proxy, whole: accuracy of each network by the proxy and by all images.
    """
    best_first = sorted(proxy, reverse=True)
    found = []
    for share in SHARES:
        # Ties with the last are included: which of them to leave out would depend on their order.
        least = best_first[max(1, round(share * len(proxy))) - 1]
        chosen = [pair for pair in zip(proxy, whole, strict=True) if pair[0] >= least]
        found.append(_correlation(share, [ours for ours, _ in chosen], [theirs for _, theirs in chosen]))
    return found


def _correlation(share: float, proxy: Sequence[float], whole: Sequence[float]) -> Correlation:
    from scipy import stats

    nothing = Correlation(share, len(proxy), None, None, None)
    if len(proxy) < FEWEST:
        return nothing

    def spearman(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        ranks = (stats.rankdata(values, axis=axis) for values in (first, second))
        a, b = (each - each.mean(axis=axis, keepdims=True) for each in ranks)
        return np.asarray((a * b).sum(axis=axis) / np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis)))

    # Where all networks tie, as in a resample of one network only, there is no correlation: NaN.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        value = float(spearman(np.array(proxy), np.array(whole), 0))
        if not math.isfinite(value):
            return nothing
        if len(proxy) < FEWEST_DRAWN:
            return replace(nothing, spearman=value)
        drawn = stats.bootstrap(
            (proxy, whole),
            spearman,
            n_resamples=RESAMPLES,
            paired=True,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    low, high = np.nanpercentile(drawn.bootstrap_distribution, (2.5, 97.5))
    return Correlation(share, len(proxy), value, float(low), float(high))
