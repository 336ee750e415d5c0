"""The FUSC fit on embeddings that have groups: it finds them, restarts, keeps the best head, and refuses nonsense."""

import numpy as np
import pytest
import torch
from torch import nn

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.clustering.configs import FuscConfig
from fusc_pipeline.clustering.fusc import RecentPredictions, build_cluster_model, fit_fusc
from fusc_pipeline.clustering.heads import ClusterModel, kmeans_prototypes
from fusc_pipeline.clustering.kmeans import KMeansClusterer
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.representation.neighbors import nearest_neighbors

HEAD_ONLY = {"n_clusters": 4, "epochs": 30, "batch_size": 40, "head_lr": 5e-2}


def groups(n=120, d=16, spread=0.25):
    """Four directions with noise, unit length; their neighbours; the group of each."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 4
    vectors = np.eye(4, d)[labels] + rng.normal(0, spread, (n, d)) / d**0.25
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [str(i) for i in range(n)]
    return vectors, nearest_neighbors(vectors, ids, vectors, ids, 8)[0], labels


def rows_of(vectors):
    cached = torch.from_numpy(vectors)
    return lambda indices, generator=None: cached[indices]


def fit(config, vectors, neighbours, **more):
    model = build_cluster_model(config, vectors.shape[1], embeddings=vectors)
    return fit_fusc(model, rows_of(vectors), neighbours, config, Compute(), **more)


def pure(clusters, labels):
    return sum(np.bincount(labels[clusters == c]).max() for c in np.unique(clusters)) / len(labels)


@pytest.mark.parametrize("settings", [{}, {"n_heads": 3}, {"init": "kmeans"}, {"memory": 100, "neighbors_per_step": 3}])
def test_heads_on_embeddings_find_the_groups(settings):
    vectors, neighbours, labels = groups()
    result = fit(FuscConfig(**HEAD_ONLY | settings), vectors, neighbours)
    probabilities = predict_probabilities(result.model, rows_of(vectors), len(vectors), Compute(), batch=50)
    assert probabilities.shape == (120, 4) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert pure(probabilities.argmax(1), labels) > 0.95
    assert {"loss", "consistency", "entropy", "best_head", "epoch", "images_per_second"} <= set(result.history[-1])
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[-1]["entropy"] == pytest.approx(np.log(4), abs=0.05)


def test_without_the_entropy_everything_may_fall_into_one_cluster():
    """With lambda 0 nothing keeps the clusters apart: consistency alone is happy with three of the four, or fewer."""
    vectors, neighbours, _ = groups(spread=1.0)
    result = fit(FuscConfig(**HEAD_ONLY | {"entropy_weight": 0.0, "epochs": 60}), vectors, neighbours)
    assert result.history[-1]["entropy"] < np.log(3) + 0.02


def test_the_head_with_the_lowest_loss_is_kept():
    vectors, neighbours, _ = groups()
    config = FuscConfig(**HEAD_ONLY | {"n_heads": 3, "epochs": 3})
    result = fit(config, vectors, neighbours)
    assert result.head == int(np.argmin(result.head_losses)) and len(result.head_losses) == 3
    assert result.history[-1]["loss"] == min(result.head_losses)
    whole = ClusterModel(None, 16, 4, 3)
    whole.load_state_dict(result.model.state_dict() | {"kept": torch.tensor(-1)})
    inputs = torch.from_numpy(vectors[:5])
    assert torch.equal(result.model(inputs), whole(inputs)[:, result.head])


def test_a_head_started_from_prototypes_is_the_kmeans_partition():
    vectors, _, _ = groups(spread=1.0)
    kmeans = KMeansClusterer(4, seed=3).fit(vectors)
    model = build_cluster_model(FuscConfig(n_clusters=4, init="kmeans", seed=3), 16, embeddings=vectors)
    probabilities = predict_probabilities(model, rows_of(vectors), 120, Compute())[:, 0]
    assert np.array_equal(probabilities.argmax(1), kmeans.predict(vectors))
    several = kmeans_prototypes(vectors, 4, 3, seed=0)
    assert len(several) == 3 and not np.allclose(several[0], several[1])


def test_the_whole_network_is_trained_when_the_view_gives_images():
    vectors, neighbours, labels = groups()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12))
    before = backbone[0].weight.detach().clone()
    config = FuscConfig(**HEAD_ONLY | {"lr": 1e-3, "epochs": 30})

    def noisy(indices, generator):
        return torch.from_numpy(vectors)[indices] + 0.05 * torch.randn(len(indices), 16, generator=generator)

    result = fit_fusc(build_cluster_model(config, 12, backbone), noisy, neighbours, config, Compute())
    assert not torch.equal(backbone[0].weight, before)
    clusters = predict_probabilities(result.model, rows_of(vectors), 120, Compute()).argmax(1)
    assert pure(clusters, labels) > 0.9


def test_a_killed_fit_continues_to_the_same_weights(tmp_path):
    class Killed(Exception):
        pass

    def kill(entry):
        if entry["epoch"] == 3:
            raise Killed

    vectors, neighbours, _ = groups()
    config = FuscConfig(**HEAD_ONLY | {"epochs": 6, "n_heads": 2, "memory": 50})
    unbroken = fit(config, vectors, neighbours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
        with pytest.raises(Killed):
            fit(config, vectors, neighbours, checkpoint=tmp_path / "run.pt", on_epoch=kill)
    seen = []
    continued = fit(config, vectors, neighbours, checkpoint=tmp_path / "run.pt", on_epoch=seen.append)
    assert [entry["epoch"] for entry in seen] == [4, 5, 6]
    assert all(torch.equal(continued.model.state_dict()[n], v) for n, v in unbroken.model.state_dict().items())
    with pytest.raises(BadInput, match="other settings or data"):
        fit(config, vectors, neighbours, checkpoint=tmp_path / "run.pt", run_id="another encoder")


def test_the_seed_decides():
    vectors, neighbours, _ = groups()
    config = FuscConfig(**HEAD_ONLY | {"epochs": 2})
    first, again = (fit(config, vectors, neighbours).model.weight for _ in range(2))
    other = fit(FuscConfig(**HEAD_ONLY | {"epochs": 2, "seed": 1}), vectors, neighbours).model.weight
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_memory_is_a_ring_of_the_last_predictions():
    memory = RecentPredictions(5, 1, 2)
    assert memory.mean() is None and memory.share(4) == 0
    rows = torch.arange(14, dtype=torch.float32).view(7, 1, 2)
    memory.add(rows[:3])
    assert torch.equal(memory.mean(), rows[:3].mean(0)) and memory.share(3) == 0.5
    memory.add(rows[3:7])
    assert torch.equal(memory.mean(), rows[2:7].mean(0)) and memory.filled == 5
    memory.add(torch.cat([rows, rows]))
    assert torch.equal(memory.mean(), rows[2:7].mean(0))


def test_bad_input_is_refused():
    vectors, neighbours, _ = groups()
    with pytest.raises(BadSetting, match=r"15 clusters were asked for, but there are only 10 training images"):
        fit_fusc(build_cluster_model(FuscConfig(), 16), rows_of(vectors), neighbours[:10] % 10, FuscConfig(), Compute())
    config = FuscConfig(**HEAD_ONLY)
    with pytest.raises(BadInput, match="indices 0 to 119"):
        fit(config, vectors, neighbours + 100)
    with pytest.raises(BadSetting, match="build_cluster_model"):
        fit_fusc(ClusterModel(None, 16, 5), rows_of(vectors), neighbours, config, Compute())
    whole = FuscConfig(**HEAD_ONLY | {"memory": 10})
    with pytest.raises(BadSetting, match="with a trained backbone it must be 0"):
        fit_fusc(build_cluster_model(whole, 12, nn.Linear(16, 12)), rows_of(vectors), neighbours, whole, Compute())
    with pytest.raises(BadSetting, match="needs the training embeddings"):
        build_cluster_model(FuscConfig(init="kmeans"), 16)
    with pytest.raises(BadSetting, match="choose one of random, kmeans"):
        FuscConfig(init="labels")
