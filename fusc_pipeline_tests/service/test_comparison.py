"""Two models on the same images: the measure is scikit-learn's, subjects carry the uncertainty, collapse scores 0."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from fusc_pipeline.service.comparison import beyond_chance, compare, neighbour_agreement, nmi


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=60))
def test_nmi_is_scikit_learns_with_images_repeated(rows):
    labels, clusters, weights = np.array(rows).T
    if not weights.sum():
        weights = np.ones_like(weights)
    repeated = np.repeat(np.arange(len(rows)), weights)
    expected = normalized_mutual_info_score(labels[repeated], clusters[repeated])
    assert nmi(labels, clusters, weights.astype(float)) == pytest.approx(expected, abs=1e-9)


def test_agreement_beyond_chance_is_one_for_pure_neighbourhoods_and_none_for_one_cluster():
    train = np.array([0, 0, 1, 1])
    near = np.array([[0, 1], [2, 3]])
    share, chance = neighbour_agreement(np.array([0, 1]), train, near, 2)
    assert share.tolist() == [1, 1] and chance.tolist() == [0.5, 0.5]
    assert beyond_chance(share, chance, np.ones(2)) == 1
    share, chance = neighbour_agreement(np.array([0, 0]), np.zeros(4, int), near, 2)
    assert beyond_chance(share, chance, np.ones(2)) == 0


def models(seed: int, errors: tuple[float, float], subjects: int = 40, labelled: bool = True):
    """Two models that put a frame into a wrong cluster with these chances, on ten frames of each subject."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, subjects * 10)
    found = [np.where(generator.random(len(truth)) < e, generator.integers(0, 5, len(truth)), truth) for e in errors]
    none = (np.full(len(truth), 0.5), np.full(len(truth), 0.2))
    labels = truth if labelled else np.full(len(truth), -1)
    return compare(labels, *found, (none, none), np.repeat(np.arange(subjects), 10), left_out=3)


def test_a_better_model_bears_no_risk_and_a_worse_one_does():
    better, worse, same = models(0, (0.1, 0.3)), models(0, (0.3, 0.1)), models(0, (0.2, 0.2))
    assert better.measure == "nmi" and better.left_out == 3 and better.n == 400 and better.subjects == 40
    assert better.risk(0.02) == 0 and better.interval[0] > 0
    assert worse.risk(0.02) > 0.99 and worse.interval[1] < 0
    assert 0 < same.risk(0.0) < 1


def test_few_subjects_leave_more_doubt_than_many():
    few, many = models(1, (0.2, 0.2), subjects=6), models(1, (0.2, 0.2), subjects=300)
    assert np.ptp(few.interval) > 3 * np.ptp(many.interval)


def test_without_labels_neighbours_are_asked():
    found = models(0, (0.1, 0.1), labelled=False)
    assert found.measure == "neighbour_agreement"
    assert found.candidate == found.in_service == pytest.approx(0.375)


def test_nothing_to_compare():
    empty = np.zeros(0, int)
    none = (np.zeros(0), np.zeros(0))
    found = compare(empty, empty, empty, (none, none), empty, left_out=4)
    assert found.n == 0 and found.left_out == 4
