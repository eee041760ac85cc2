import math

import numpy as np
import pytest
from scipy import stats

from dsactl.studies.nas.correlation import SHARES, correlations


def ranks_of(values: list[float]) -> list[float]:
    """Ranks with ties shared, by counting."""
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


def pearson(first: list[float], second: list[float]) -> float:
    a, b = (np.array(values) - np.mean(values) for values in (first, second))
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def test_against_ranks_by_hand_and_scipy() -> None:
    proxy, whole = [50.0, 60.0, 70.0, 80.0, 90.0, 90.0], [10.0, 30.0, 20.0, 50.0, 40.0, 40.0]
    *_, every = correlations(proxy, whole)
    assert (every.share, every.networks) == (1.0, 6)
    assert ranks_of(proxy) == [1, 2, 3, 4, 5.5, 5.5]
    assert every.spearman == pytest.approx(pearson(ranks_of(proxy), ranks_of(whole)))
    assert every.spearman == pytest.approx(stats.spearmanr(proxy, whole).statistic)
    assert (every.low, every.high) == (None, None), "six networks are too few to draw from"
    *_, twice = correlations(2 * proxy, 2 * whole)
    assert twice.low is not None
    assert twice.high is not None
    assert -1 <= twice.low < every.spearman <= twice.high <= 1


def test_of_equally_good_networks_all_are_among_the_best() -> None:
    random = np.random.default_rng(2)
    proxy = random.integers(0, 8, size=60).astype(float)
    whole = proxy + random.normal(size=60)
    found = correlations(list(proxy), list(whole))
    for each, least in zip(found, (sorted(proxy)[-round(60 * share)] for share in SHARES), strict=True):
        assert each.networks == (proxy >= least).sum()
    order = random.permutation(60)
    other = correlations(list(proxy[order]), list(whole[order]))
    assert [each.networks for each in other] == [each.networks for each in found]
    for one, two in zip(found, other, strict=True):
        assert one.spearman == (two.spearman if two.spearman is None else pytest.approx(two.spearman))


def test_the_best_are_the_proxys_own() -> None:
    random = np.random.default_rng(0)
    proxy = random.permutation(100).astype(float)
    whole = np.where(proxy >= 90, -proxy, proxy)
    five, ten, twenty, every = correlations(list(proxy), list(whole))
    assert [each.networks for each in (five, ten, twenty, every)] == [5, 10, 20, 100]
    assert [each.share for each in (five, ten, twenty, every)] == list(SHARES)
    assert [five.spearman, ten.spearman] == pytest.approx([-1, -1]), "its best ten are in reverse"
    best = np.argsort(-proxy)[:20]
    assert twenty.spearman == pytest.approx(stats.spearmanr(proxy[best], whole[best]).statistic)
    assert every.spearman == pytest.approx(stats.spearmanr(proxy, whole).statistic)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(1)
    proxy = random.normal(size=40)
    whole = proxy + random.normal(size=40)
    *_, every = correlations(list(proxy), list(whole))
    draws = []
    for _ in range(4000):
        chosen = random.integers(40, size=40)
        draws.append(stats.spearmanr(proxy[chosen], whole[chosen]).statistic)
    assert [every.low, every.high] == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.03)


@pytest.mark.filterwarnings("error")
def test_what_has_no_order_has_no_correlation() -> None:
    for proxy, whole in (([1.0, 2.0], [2.0, 1.0]), ([5.0] * 4, [1.0, 2.0, 3.0, 4.0]), ([1.0, 2.0, 3.0], [7.0] * 3)):
        *_, every = correlations(proxy, whole)
        assert (every.spearman, every.low, every.high) == (None, None, None)
    *_, three = correlations([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert three.spearman == pytest.approx(1)
