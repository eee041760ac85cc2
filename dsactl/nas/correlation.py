"""How well a proxy ranks networks: Spearman's correlation with the ranking on all images (Section 4.6)."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SHARES = (0.05, 0.1, 0.2, 1.0)
"""Of the networks, the proxy's best; the paper has the first."""
FEWEST = 3
"""Networks whose order means something."""
FEWEST_DRAWN = 10
"""Networks of which draws tell how far another choice of them might lead."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Correlation:
    """Of a proxy with the whole set.

    Attributes:
        share: of all networks, the proxy's best.
        networks: how many these are: more than the share where several are as good as the last of them.
        spearman: −1 … 1; None where they are too few, or all alike to one of both.
        low, high: 95 % interval by the bootstrap over these networks; None where there is no correlation, or they are
            fewer than `FEWEST_DRAWN`.
    """

    share: float
    networks: int
    spearman: float | None
    low: float | None
    high: float | None


def correlations(proxy: Sequence[float], whole: Sequence[float]) -> list[Correlation]:
    """Of the best networks by the proxy, for each of `SHARES`.

    Args:
        proxy, whole: accuracy of each network by the proxy and by all images.
    """
    best_first = sorted(proxy, reverse=True)
    found = []
    for share in SHARES:
        # All that are as good as the last: which of them belong to the share would be a matter of their order.
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

    # Where all networks are alike, as in a draw of one again and again, there is no correlation: NaN.
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
