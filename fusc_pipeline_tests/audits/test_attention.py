"""Grad-CAM against its equations in loops, and shares against areas that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from fusc_pipeline.audits.attention import (
    AttentionShare,
    attention_maps,
    attention_share,
    bootstrap_ratio,
    control_mass,
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


def test_the_interval_is_that_of_groups_drawn_one_by_one():
    rng = np.random.default_rng(1)
    share = AttentionShare(rng.random(30), np.where(rng.random(30) < 0.2, 0, rng.random(30)))
    share.mass[3] = np.nan
    groups, again = rng.integers(0, 6, 30), np.random.default_rng(4)
    ratios = []
    for _ in range(200):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in again.integers(0, 6, 6)])
        ratios.append(AttentionShare(share.mass[rows], share.area[rows]).ratio())
    assert bootstrap_ratio(share, groups, draws=200, seed=4) == pytest.approx(np.quantile(ratios, [0.025, 0.975]))


def test_control_mass_is_the_mean_over_every_free_place_in_loops():
    rng = np.random.default_rng(0)
    within = np.zeros((1, 12, 12), bool)
    within[0, 1:11, 2:12] = True
    area = np.zeros((1, 12, 12), bool)
    area[0, 4:6, 5:9] = True
    area[0, 0, 0] = True  # outside of what counts
    maps = rng.random((1, 12, 12))
    expected = []
    for top in range(1, 10):
        for left in range(2, 9):
            if abs(top - 4) >= 2 or abs(left - 5) >= 4:
                expected.append(maps[0, top : top + 2, left : left + 4].sum())
    found = control_mass(maps, area, within)
    assert found[0] == pytest.approx(np.mean(expected) / maps[0, 1:11, 2:12].sum())


def test_what_draws_attention_by_its_place_draws_it_in_the_control_too():
    rows, columns = np.mgrid[:48, :48]
    middle = np.exp(-((rows - 24) ** 2 + (columns - 24) ** 2) / 300)[None]
    fan, beside = np.ones((1, 48, 48), bool), np.zeros((1, 48, 48), bool)
    beside[0, 24:28, 12:20] = True
    by_size = attention_share(middle, beside, fan)
    over_elsewhere = AttentionShare(by_size.mass, control_mass(middle, beside, fan))
    assert over_elsewhere.ratio() < by_size.ratio()
    on_it = middle + 30 * beside
    share = AttentionShare(attention_share(on_it, beside, fan).mass, control_mass(on_it, beside, fan))
    assert share.ratio() > 10


def test_no_control_where_the_area_fits_nowhere_else_or_nothing_is_known():
    full = np.ones((3, 8, 8), bool)
    areas = full.copy()
    areas[1] = False
    maps = np.ones((3, 8, 8))
    areas[2, 2:] = False
    maps[2] = 0
    assert np.isnan(control_mass(maps, areas, full)).all()
