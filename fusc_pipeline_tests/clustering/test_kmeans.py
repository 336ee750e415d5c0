"""k-means: fit on train, assign anything, refuse what cannot be clustered."""

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.clustering.kmeans import KMeansClusterer


def three_groups(n=60):
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8)
    labels = np.arange(n) % 3
    # lengths differ widely: only directions tell the groups apart
    return (centres[labels] + rng.normal(0, 0.1, (n, 8))) * rng.uniform(0.1, 50, (n, 1)), labels


def test_directions_are_found_whatever_the_lengths():
    vectors, labels = three_groups()
    model = KMeansClusterer(3, seed=1).fit(vectors[:45])
    clusters = model.predict(vectors[45:])
    assert len({(c, label) for c, label in zip(clusters, labels[45:], strict=True)}) == 3


def test_probabilities_are_soft_kmeans():
    vectors, _ = three_groups()
    model = KMeansClusterer(3, seed=1).fit(vectors)
    probabilities = model.predict_proba(vectors)
    assert probabilities.shape == (60, 3) and probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row, point in zip(probabilities, unit, strict=True):
        squared = np.array([((point - centre) ** 2).sum() for centre in model.centroids_])
        weights = np.exp(-squared / (2 * model.variance_))
        assert np.allclose(row, weights / weights.sum(), atol=1e-4)
        assert row.argmax() == squared.argmin()


def test_the_seed_decides_and_identical_vectors_are_no_error():
    vectors, _ = three_groups()
    assert np.array_equal(
        KMeansClusterer(4, seed=2).fit(vectors).predict(vectors),
        KMeansClusterer(4, seed=2).fit(vectors).predict(vectors),
    )
    same = np.ones((5, 4))
    with pytest.warns(UserWarning, match="distinct clusters"):
        probabilities = KMeansClusterer(2).fit(same).predict_proba(same)
    assert np.isfinite(probabilities).all()


def test_impossible_requests_are_refused():
    vectors, _ = three_groups()
    with pytest.raises(
        BadSetting,
        match=r"15 clusters were asked for, but there are only 10 training images; set n_clusters to at most 10",
    ):
        KMeansClusterer(15).fit(vectors[:10])
    with pytest.raises(BadSetting, match="n_clusters is 0"):
        KMeansClusterer(0).fit(vectors)
    with pytest.raises(BadSetting, match="n_init is 0"):
        KMeansClusterer(3, n_init=0).fit(vectors)
    with pytest.raises(BadInput, match="not fitted"):
        KMeansClusterer(3).predict(vectors)
