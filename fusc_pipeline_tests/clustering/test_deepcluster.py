"""DeepCluster: whitening and sampling against their definitions, and that it finds groups and survives a kill."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.clustering.configs import DeepClusterConfig
from fusc_pipeline.clustering.deepcluster import WhitenedSpace, fit_deepcluster, uniform_samples
from fusc_pipeline.evaluation.metrics import cluster_purity


def groups(n=90, dim=12, k=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    return (rng.normal(size=(k, dim))[truth] * 3 + rng.normal(size=(n, dim))).astype(np.float32), truth


def network(dim=12):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(dim, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 16))
    layers.out_dim = 16
    return layers


def run(vectors, config, checkpoint=None, on_epoch=None):
    rows = torch.from_numpy(vectors)

    def view(indices, generator):
        return rows[indices] + 0.1 * torch.randn(len(indices), rows.shape[1], generator=generator)

    return fit_deepcluster(
        network(), view, lambda indices: rows[indices], len(rows), config, Compute(), on_epoch, checkpoint
    ), lambda indices: rows[indices]


@pytest.mark.parametrize("dim", [2, 5, 12, 40])
def test_whitening_is_scikit_learns(dim):
    vectors, _ = groups()
    ours = WhitenedSpace.fit(vectors, dim).apply(vectors)
    theirs = PCA(min(dim, 12), whiten=True, svd_solver="full").fit_transform(vectors)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    assert np.allclose(ours, theirs, atol=1e-3)


def test_dimensions_that_do_not_vary_are_left_out():
    vectors, _ = groups()
    padded = np.concatenate([vectors, np.ones((90, 30), np.float32)], axis=1)
    assert WhitenedSpace.fit(padded, 40).apply(padded).shape == (90, 12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 99))
def test_every_filled_cluster_is_drawn_as_often_as_the_others(clusters, seed):
    clusters = np.array(clusters)
    drawn = uniform_samples(clusters, seed)
    each = len(clusters) // len(np.unique(clusters)) + 1
    counts = np.bincount(clusters[drawn], minlength=7)
    assert len(drawn) == len(clusters) and counts.max() <= each
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        if len(members) >= each:  # enough of them: none twice
            chosen = drawn[clusters[drawn] == cluster]
            assert len(np.unique(chosen)) == len(chosen)


def test_it_finds_the_groups_and_says_how_it_went():
    vectors, truth = groups()
    config = DeepClusterConfig(n_clusters=3, epochs=4, batch_size=16, lr=0.01, pca_dim=8)
    result, inputs = run(vectors, config)
    probabilities = result.predict_proba(inputs, len(vectors), Compute())
    assert probabilities.shape == (90, 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert cluster_purity(truth, probabilities.argmax(1)) > 0.9
    assert result.history[0]["agreement"] == 0.0 and result.history[-1]["agreement"] > 0.5
    assert all(entry["filled"] == 3 for entry in result.history)


def test_a_killed_run_continues_to_the_same_weights(tmp_path, monkeypatch):
    vectors, _ = groups()
    config = DeepClusterConfig(n_clusters=4, epochs=3, batch_size=16, lr=0.01, pca_dim=8)
    whole, _ = run(vectors, config)

    class Killed(BaseException):
        pass

    def stop(entry):
        if entry["epoch"] == 2:
            raise Killed

    monkeypatch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
    with pytest.raises(Killed):
        run(vectors, config, tmp_path / "run.pt", stop)
    resumed, _ = run(vectors, config, tmp_path / "run.pt")
    weights = whole.network.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in resumed.network.state_dict().items())
    assert np.array_equal(whole.clusterer.centroids_, resumed.clusterer.centroids_)


def test_more_clusters_than_samples_are_refused():
    vectors, _ = groups(n=10)
    with pytest.raises(BadSetting, match="only 10 training images"):
        run(vectors, DeepClusterConfig(n_clusters=20))
