"""Neighbours: exact, never oneself, duplicates and all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.representation.neighbors import knn_accuracy, nearest_neighbors, neighbor_purity


def unit(n, d, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def names(prefix, n):
    return [f"{prefix}{i}" for i in range(n)]


def oracle(train, train_ids, queries, query_ids, k):
    rows = []
    for query, own in zip(queries, query_ids, strict=True):
        found = [(-float(query @ vector), row) for row, vector in enumerate(train) if train_ids[row] != own]
        rows.append([row for _, row in sorted(found)[:k]])
    return np.array(rows)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 40), d=st.integers(2, 8), k=st.integers(1, 12), seed=st.integers(0, 99))
def test_neighbours_equal_a_loop_and_exclude_the_query(n, d, k, seed):
    train = unit(n, d, seed)
    ids = names("a", n)
    indices, similarities = nearest_neighbors(train, ids, train, ids, k)
    k = min(k, n - 1)
    assert indices.shape == similarities.shape == (n, k)
    assert np.all(indices != np.arange(n)[:, None])
    expected = oracle(train, ids, train, ids, k)
    # equal up to the order of values that are equal in floating point
    assert np.allclose(similarities, np.take_along_axis(train @ train.T, expected, 1), atol=1e-5)
    assert np.all(np.diff(similarities, axis=1) <= 1e-6)


def test_a_duplicate_is_a_neighbour_and_oneself_is_not():
    train = unit(6, 4)
    train[1] = train[0]
    train[2] = train[0]
    ids = names("a", 6)
    indices, similarities = nearest_neighbors(train, ids, train, ids, 2)
    assert indices[0].tolist() == [1, 2] and indices[1].tolist() == [0, 2] and indices[2].tolist() == [0, 1]
    assert np.allclose(similarities[:3], 1)


def test_many_duplicates_beyond_k_still_exclude_the_query():
    train = np.repeat(unit(1, 4), 12, axis=0)
    ids = names("a", 12)
    indices, _ = nearest_neighbors(train, ids, train, ids, 3)
    assert np.all(indices != np.arange(12)[:, None]) and indices.shape == (12, 3)


def test_queries_of_another_split_see_every_train_vector():
    train, queries = unit(5, 3), unit(4, 3, seed=1)
    indices, _ = nearest_neighbors(train, names("a", 5), queries, names("b", 4), 9)
    assert indices.shape == (4, 5) and all(sorted(row) == [0, 1, 2, 3, 4] for row in indices.tolist())
    mixed, _ = nearest_neighbors(train, names("a", 5), queries, ["b0", "a3", "b2", "b3"], 9)
    assert mixed.shape == (4, 4) and 3 not in mixed[1]


def test_bad_input_is_refused():
    train, ids = unit(4, 3), names("a", 4)
    with pytest.raises(BadSetting, match="neighbours is 0"):
        nearest_neighbors(train, ids, train, ids, 0)
    with pytest.raises(BadSetting, match="without any neighbour"):
        nearest_neighbors(train[:1], ids[:1], train[:1], ids[:1], 1)
    with pytest.raises(BadInput, match="given twice"):
        nearest_neighbors(train, ["a"] * 4, train, ids, 1)
    with pytest.raises(BadInput, match="one row per id"):
        nearest_neighbors(train, ids[:3], train, ids, 1)
    with pytest.raises(BadInput, match="dimensions"):
        nearest_neighbors(train, ids, unit(4, 2), ids, 1)
    with pytest.raises(BadInput, match="diverged"):
        nearest_neighbors(train * np.nan, ids, train, ids, 1)


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_knn_accuracy_is_scikit_learns_with_the_same_weights(k, temperature):
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(k)
    labels, wanted = rng.integers(0, 4, 60), rng.integers(0, 4, 40)
    centres = rng.normal(size=(4, 6))
    train, queries = (c + rng.normal(size=c.shape) for c in (centres[labels], centres[wanted]))
    train, queries = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (train, queries))
    near, similar = nearest_neighbors(
        train.astype(np.float32), names("a", 60), queries.astype(np.float32), names("b", 40), k
    )
    # For unit vectors the squared distance is 2 - 2 cos, and a constant factor of all weights changes no vote.
    model = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d**2 / 2) / temperature)).fit(train, labels)
    assert knn_accuracy(near, similar, labels, wanted, temperature) == pytest.approx(model.score(queries, wanted))


def test_knn_accuracy_leaves_unlabelled_images_out():
    near, similar = np.array([[0, 1], [2, 3], [3, 3], [0, 1]]), np.full((4, 2), 0.5, np.float32)
    labels = np.array([1, -1, 0, -1])
    # The first and the second are right, the third has no voter, the last is no query.
    assert knn_accuracy(near, similar, labels, np.array([1, 0, 1, -1])) == 1.0
    assert knn_accuracy(near[:2], similar[:2], labels, np.array([0, 0])) == 0.5
    assert np.isnan(knn_accuracy(near, similar, np.full(4, -1), labels))


def test_purity_counts_labelled_pairs_only():
    indices = np.array([[1, 2], [0, 2], [0, 3]])
    labels = np.array([0, 0, 1, -1])
    assert neighbor_purity(indices, labels, labels[:3]) == pytest.approx(2 / 5)
    assert np.isnan(neighbor_purity(indices, np.full(4, -1), labels[:3]))
