"""Drift: what is beyond chance is told, and a small batch of the same kind hardly ever is."""

import numpy as np
import pytest

from fusc_pipeline.evaluation.intervals import wilson
from fusc_pipeline.service.drift import Drift, Limits, drift, effective, mix, share, verdict
from fusc_pipeline.service.outliers import Calibration

USUAL = np.array([260, 130, 100, 80, 70, 60, 60, 50, 40, 40, 30, 30, 20, 20, 10])
CALIBRATION = Calibration(np.linspace(0, 1, 200, dtype=np.float32), np.linspace(0, 1, 200, dtype=np.float32))


def batch(seed: int, subjects: int = 5, frames: int = 10, shift: float = 0.0, shares=None, growth=0.0) -> Drift:
    """Figures of a batch whose subjects differ: each has a mix and a level of its own. shift: of the scores, 0 to 1."""
    generator = np.random.default_rng(seed)
    p = USUAL / USUAL.sum() if shares is None else np.asarray(shares, float)
    clusters, scores, sure = [], [], []
    for _ in range(subjects):
        own = generator.dirichlet(np.maximum(p * 20, 1e-3))
        clusters += generator.choice(len(p), frames, p=own).tolist()
        level = generator.normal(0, 0.15, (2, 1))
        scores += np.clip(generator.random(frames) + level[0] + shift, 0, 1).tolist()
        sure += np.clip(generator.random(frames) + level[1] - shift, 0, 1).tolist()
    return drift(
        clusters=np.array(clusters),
        confidences=np.array(sure),
        ood_scores=np.array(scores),
        subjects=np.repeat(np.arange(subjects), frames).astype(str).tolist(),
        new=subjects * frames,
        calibration=CALIBRATION,
        usual_clusters=USUAL,
        growth=growth,
    )


@pytest.mark.parametrize(("subjects", "frames"), [(1, 5), (3, 10), (5, 10), (20, 10), (60, 5)])
def test_batches_of_the_same_kind_hardly_ever_cry_wolf(subjects, frames):
    cries = [bool(verdict(batch(seed, subjects, frames), Limits())) for seed in range(100)]
    assert np.mean(cries) <= 0.02


def test_what_has_drifted_is_told_by_its_kind():
    strange = verdict(batch(0, subjects=10, shift=0.6), Limits())
    assert any("unlike the training frames" in words for words in strange)
    assert any("less sure than usual" in words for words in strange)
    others = verdict(batch(0, subjects=20, shares=USUAL[::-1] / USUAL.sum()), Limits())
    assert any("the mix of clusters differs" in words for words in others)
    assert verdict(batch(0, growth=0.31), Limits()) == [
        "frames that came since training are 31% of the training frames (limit 30%)"
    ]


def test_one_strange_subject_among_many_is_no_drift():
    figures = batch(0, subjects=20)
    assert verdict(figures, Limits()) == []
    assert share(10, 200, 20).low < 0.05 < share(10, 200, 20).high


def test_frames_of_one_subject_count_little_more_than_one():
    assert effective(50, 50) == 50
    assert effective(50, 1) < 3.5
    assert effective(0, 0) == 0


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (50, 200)])
def test_the_interval_is_wilsons_where_every_frame_is_a_subject(hits, n):
    found = share(hits, n, n)
    assert (found.low, found.high) == pytest.approx(wilson(hits, n), abs=1e-4)


def test_distance_of_mixes():
    assert mix(np.array([1, 1]), np.array([5, 5]), 2, 2).distance == 0
    assert mix(np.array([4, 0]), np.array([0, 9]), 4, 4).distance == 1
    assert mix(np.array([0, 0]), np.array([5, 5]), 0, 0).beyond == 0


def test_chance_stays_below_its_bound():
    generator = np.random.default_rng(1)
    p = USUAL / USUAL.sum()
    for n in (10, 50, 500):
        bound = mix(USUAL, USUAL, n, n).by_chance
        far = [0.5 * np.abs(generator.multinomial(n, p) / n - p).sum() > bound for _ in range(400)]
        assert np.mean(far) <= 0.05


def test_figures_survive_json():
    figures = batch(3)
    assert Drift.of(figures.plain()) == figures
