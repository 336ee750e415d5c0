"""Self-labelling: it sharpens what is right, and each stop rule keeps the state from before the damage."""

import numpy as np
import pytest
import torch

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.clustering.configs import SelfLabelConfig
from fusc_pipeline.clustering.heads import ClusterModel
from fusc_pipeline.clustering.predictions import predict_probabilities
from fusc_pipeline.clustering.selflabel import self_label

N = 90


def data():
    rng = np.random.default_rng(0)
    vectors = np.eye(3, 8)[np.arange(N) % 3] + rng.normal(0, 0.15, (N, 8))
    return torch.from_numpy((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))


def started(sharpness=12.0):
    """A model that assigns by the three true directions, more or less certain of it."""
    model = ClusterModel(None, 8, 3)
    model.start_from_prototypes([np.eye(3, 8, dtype=np.float32)], sharpness)
    model.keep_head(0)
    return model


def run(config, model, strong=None, **more):
    vectors = data()

    def weak_view(indices):
        return vectors[indices]

    def strong_view(indices, generator):
        return vectors[indices] + 0.1 * torch.randn(len(indices), 8, generator=generator)

    return self_label(model, weak_view, strong or strong_view, N, config, Compute(), **more)


def probabilities(model):
    vectors = data()
    return predict_probabilities(model, lambda indices: vectors[indices], N, Compute())


SMALL = {"epochs": 5, "batch_size": 30, "lr": 1e-2}


@pytest.mark.parametrize("ema", [0.0, 0.5])
@pytest.mark.parametrize("balanced", [True, False])
def test_coverage_grows_and_the_partition_stays(ema, balanced):
    before = probabilities(started(4.0))
    result = run(SelfLabelConfig(**SMALL, threshold=0.9, ema=ema, balanced=balanced), started(4.0))
    after = probabilities(result.model)
    assert result.stopped_because is None and result.good_epochs == 5 and len(result.history) == 5
    assert result.history[-1]["coverage"] > (before.max(1) >= 0.9).mean()
    assert result.history[-1]["coverage"] == pytest.approx((after.max(1) >= 0.9).mean())
    assert result.history[-1]["filled"] == 3
    assert (after.argmax(1) == before.argmax(1)).mean() > 0.95
    assert not result.model.training


def test_nothing_confident_is_no_error_and_changes_nothing():
    model = started(0.1)
    before = probabilities(model)
    result = run(SelfLabelConfig(**SMALL), model)
    assert "no sample reached the confidence 0.99" in result.stopped_because
    assert result.good_epochs == 0 and len(result.history) == 1
    assert result.history[0]["skipped"] == 3 and result.history[0]["coverage"] == 0
    assert np.array_equal(probabilities(result.model), before)


def collapsing(indices, generator):
    """Strong views of other samples: what is confident spreads to everything."""
    return data()[torch.randint(N, indices.shape, generator=generator)]


def unbalanced():
    """Confident of cluster 0 only, but using all three."""
    model = started(4.0)
    with torch.no_grad():
        model.bias[0, 0] += 1.5
    return model


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_lost_clusters": 0, "min_agreement": 0.0}, "filled clusters fell from 3 to"),
        ({"max_lost_clusters": 3, "min_agreement": 0.9}, "agreement with the partition before fell to"),
    ],
)
def test_damage_stops_the_run_and_the_last_good_state_is_returned(settings, reason):
    biased = unbalanced()
    partition = probabilities(biased).argmax(1)
    config = SelfLabelConfig(epochs=60, batch_size=30, lr=0.02, threshold=0.9, balanced=False, **settings)
    result = run(config, biased, collapsing)
    assert reason in result.stopped_because
    assert result.good_epochs == len(result.history) - 1
    kept = probabilities(result.model).argmax(1)
    if settings["max_lost_clusters"] == 0:
        assert len(np.unique(kept)) == len(np.unique(partition)) == 3
    damaged = probabilities(biased).argmax(1)
    assert len(np.unique(damaged)) < 3 or (damaged != partition).mean() > (kept != partition).mean()


def test_lost_clusters_may_be_tolerated():
    config = SelfLabelConfig(
        epochs=30, batch_size=30, lr=0.02, threshold=0.9, balanced=False, max_lost_clusters=3, min_agreement=0.0
    )
    assert run(config, unbalanced(), collapsing).stopped_because is None


def test_a_killed_run_continues_to_the_same_weights_and_good_state(tmp_path):
    class Killed(Exception):
        pass

    def kill(entry):
        if entry["epoch"] == 2:
            raise Killed

    config = SelfLabelConfig(**SMALL, threshold=0.9, ema=0.9)
    unbroken = run(config, started(4.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
        with pytest.raises(Killed):
            run(config, started(4.0), checkpoint=tmp_path / "run.pt", on_epoch=kill)
    continued = run(config, started(4.0), checkpoint=tmp_path / "run.pt")
    assert continued.good_epochs == unbroken.good_epochs == 5
    assert all(torch.equal(continued.model.state_dict()[n], v) for n, v in unbroken.model.state_dict().items())


def test_a_stopped_run_stays_stopped_after_a_restart(tmp_path):
    first = run(SelfLabelConfig(**SMALL), started(0.1), checkpoint=tmp_path / "run.pt")
    again = run(SelfLabelConfig(**SMALL), started(0.1), checkpoint=tmp_path / "run.pt")
    assert again.stopped_because == first.stopped_because and again.history == first.history


def test_settings_are_checked():
    with pytest.raises(BadSetting, match=r"SelfLabelConfig.threshold is 1.5"):
        SelfLabelConfig(threshold=1.5)
