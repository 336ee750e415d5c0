"""Intervals against scipy's, and the clustered mean against a slow bootstrap and its coverage."""

import numpy as np
import pytest
from scipy import stats

from fusc_pipeline.evaluation.intervals import clopper_pearson, clustered_mean, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 200), (1, 5), (3, 60), (60, 60), (199, 200), (500, 1000)])
def test_shares_agree_with_scipy(hits, n):
    trial = stats.binomtest(hits, n)
    for mine, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        expected = trial.proportion_ci(method=method)
        assert mine(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_nothing_seen_says_nothing():
    assert wilson(0, 0) == clopper_pearson(0, 0) == (0.0, 1.0)


def test_fractions_of_a_sample_lie_between_whole_ones():
    low, high = clopper_pearson(1.5, 40.0)
    assert clopper_pearson(1, 40)[0] < low < clopper_pearson(2, 40)[0]
    assert clopper_pearson(1, 40)[1] < high < clopper_pearson(2, 40)[1]


def clusters(rng, n_clusters=30, spread=0.3):
    """Values 0 or 1 of clusters that differ in size and level; the expected mean is one half."""
    sizes = rng.integers(3, 15, n_clusters)
    levels = np.clip(0.5 + spread * rng.uniform(-1, 1, n_clusters), 0, 1)
    place = np.repeat(np.arange(n_clusters), sizes)
    return (rng.random(len(place)) < levels[place]).astype(float), place


def test_clustered_mean_is_near_a_bootstrap_over_clusters():
    rng = np.random.default_rng(0)
    values, place = clusters(rng)
    mean, low, high = clustered_mean(values, place)
    groups = [values[place == cluster] for cluster in range(30)]
    draws = []
    for _ in range(2000):
        drawn = [groups[i] for i in rng.integers(0, 30, 30)]
        draws.append(np.concatenate(drawn).mean())
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(draws), rel=0.15)


def test_clustered_mean_covers_and_the_plain_interval_does_not():
    rng = np.random.default_rng(1)
    covered = plain = 0
    for _ in range(400):
        values, place = clusters(rng, spread=0.45)
        _, low, high = clustered_mean(values, place)
        covered += low <= 0.5 <= high
        reach = 1.96 * values.std() / np.sqrt(len(values))
        plain += abs(values.mean() - 0.5) <= reach
    assert covered / 400 > 0.92 > plain / 400


def test_one_cluster_is_refused():
    with pytest.raises(ValueError, match="1 cluster"):
        clustered_mean(np.ones(5), np.zeros(5))
