"""Grad-CAM against its equations in loops, and shares against areas that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from fusc_pipeline.evaluation.attention import (
    AttentionShare,
    attention_maps,
    attention_share,
    bootstrap_ratio,
    grad_cam,
)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3), nn.Tanh(), nn.Linear(3, 4))

    def forward(self, images):
        return self.head(self.features(images))


def test_maps_are_those_of_the_equations_in_loops():
    model, images, classes = Small(), torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1)), [2, 0, 3]
    found = grad_cam(model, model.features, images, torch.tensor(classes))
    for b, c in enumerate(classes):
        features = model.features(images[b : b + 1]).detach().requires_grad_()
        model.head(features)[0, c].backward()
        expected = torch.zeros(8, 8)
        for k in range(5):
            alpha = float(features.grad[0, k].sum()) / 64  # equation 1
            expected += alpha * features.detach()[0, k]
        assert torch.allclose(found[b], expected.clamp(min=0), atol=1e-6)  # equation 2


def test_frozen_weights_have_maps_too_and_maps_are_scaled_to_the_image():
    model = Small().requires_grad_(False)
    model.features = nn.Sequential(model.features, nn.MaxPool2d(2))
    maps = attention_maps(model, model.features, lambda rows: torch.ones(len(rows), 1, 16, 16), np.zeros(5, int), 2)
    assert maps.shape == (5, 16, 16) and (maps >= 0).all()


def test_attention_that_is_everywhere_has_a_ratio_of_one_and_attention_on_the_area_its_inverse_share():
    areas = np.zeros((2, 10, 10), bool)
    areas[:, :2, :5] = True  # a tenth
    assert attention_share(np.ones((2, 10, 10)), areas).ratio() == pytest.approx(1)
    assert attention_share(areas.astype(float), areas).ratio() == pytest.approx(10)
    assert attention_share((~areas).astype(float), areas).ratio() == 0
    half = np.zeros((2, 10, 10), bool)
    half[:, :5] = True  # only this half counts: the area is a fifth of it
    assert attention_share(areas.astype(float), areas, half).ratio() == pytest.approx(5)


def test_pictures_without_a_map_or_an_area_do_not_count():
    areas = np.zeros((3, 4, 4), bool)
    areas[:2, 0] = True
    maps = np.ones((3, 4, 4))
    maps[1] = 0
    share = attention_share(maps, areas)
    assert np.isnan(share.mass[1]) and share.ratio() == pytest.approx(1)
    assert np.isnan(AttentionShare(np.array([np.nan]), np.array([0.5])).ratio())


def test_the_interval_holds_the_ratio_and_narrows_with_more_subjects():
    rng = np.random.default_rng(0)

    def width(n):
        share = AttentionShare(rng.normal(0.1, 0.03, n).clip(0), np.full(n, 0.1))
        low, high = bootstrap_ratio(share, np.arange(n) // 4)
        assert low <= share.ratio() <= high
        return high - low

    assert width(400) < width(40)
