"""Out-of-distribution scores: a held-out image's is uniform, a strange one's is high."""

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.service.outliers import Calibration, distances


def test_a_score_is_the_share_of_held_out_images_that_are_nearer():
    held_out = np.array([[0.9], [0.8], [0.7], [0.6]])
    calibration = Calibration.of(held_out, np.ones(4))
    scores = calibration.ood_scores(np.array([[1.0], [0.85], [0.7], [0.61], [0.0]]))
    assert scores == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_images_like_the_held_out_ones_are_flagged_one_time_in_twenty():
    generator = np.random.default_rng(0)
    calibration = Calibration.of(generator.normal(0.8, 0.05, (2000, 10)), np.ones(2000))
    scores = calibration.ood_scores(generator.normal(0.8, 0.05, (4000, 10)))
    assert (scores > 0.95).mean() == pytest.approx(0.05, abs=0.015)
    assert calibration.ood_scores(generator.normal(0.5, 0.05, (50, 10))).min() == 1


def test_distance_is_the_mean_over_neighbours():
    assert distances(np.array([[1.0, 0.5], [0.0, 0.0]])) == pytest.approx([0.25, 1])


def test_the_least_sure_twentieth():
    assert Calibration.of(np.ones((101, 1)), np.linspace(0, 1, 101)).least_sure == pytest.approx(0.05)


def test_nothing_can_be_usual_without_held_out_images():
    with pytest.raises(BadInput, match="the test split is empty"):
        Calibration.of(np.zeros((0, 3)), np.zeros(0))
