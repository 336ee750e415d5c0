"""Drawn marks are found whatever their grey level, and tissue, coarse speckle and enlarged frames are left alone."""

import cv2
import numpy as np
import pytest

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.text.drawn import find_drawn
from fusc_pipeline_tests.text.screens import fan_mask, tissue

FAN = fan_mask()
# As machines show it: interpolated, so that neighbouring pixels differ by little.
SMOOTH = np.where(FAN, cv2.GaussianBlur(tissue(FAN), (0, 0), 1.2), 0).astype(np.uint8)


@pytest.mark.parametrize("level", [0, 20, 140, 255])
def test_ticks_of_any_level_are_found_and_nothing_else(level):
    grey = SMOOTH.copy()
    ticks = np.zeros_like(FAN)
    for y in range(110, 250, 20):
        ticks[y : y + 2, 180:184] = True
    grey[ticks] = level
    found = find_drawn(grey, FAN) & FAN
    assert (found & ticks).sum() >= 0.85 * ticks.sum()  # a tick may lie on tissue of its own level
    assert not (found & ~cv2.dilate(ticks.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()


def test_letters_darker_than_the_tissue_are_found():
    grey = np.where(FAN, np.clip(SMOOTH.astype(int) + 90, 0, 255), 0).astype(np.uint8)
    letters = np.zeros_like(grey)
    cv2.putText(letters, "CRI 3", (150, 200), cv2.FONT_HERSHEY_PLAIN, 1.2, 1, 2, cv2.LINE_4)
    grey[letters > 0] = 70
    assert (find_drawn(grey, FAN) & (letters > 0)).sum() > 0.9 * letters.sum()


def test_smoothed_letters_on_black_are_found_without_an_engine():
    grey = SMOOTH.copy()
    grey[180:220, 140:260] = 0
    cv2.putText(grey, "Logo", (160, 205), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 250, 1, cv2.LINE_AA)
    strong = np.zeros_like(FAN)
    strong[180:220, 140:260] = grey[180:220, 140:260] >= 90
    assert (find_drawn(grey, FAN) & strong).sum() > 0.9 * strong.sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plain_tissue_holds_no_marks(seed):
    assert not (find_drawn(tissue(FAN, seed), FAN) & FAN).any()


def test_a_single_even_grain_is_no_mark_and_three_alike_are():
    grey = SMOOTH.copy()
    grey[150, 150:152] = 255
    assert not find_drawn(grey, FAN)[140:260, 140:260].any()
    grey[150, 170:172] = grey[150, 190:192] = 255
    assert find_drawn(grey, FAN)[150, [150, 170, 190]].all()


def test_the_anatomy_of_phantoms_holds_next_to_no_marks():
    config = PhantomConfig(n_frames=12, seed=5)
    for index in range(0, 12, 3):
        frame = render_frame(config, index)
        found = find_drawn(frame.anatomy, frame.fan) & frame.fan
        assert found.sum() <= 2e-4 * frame.fan.sum()


def test_a_frame_enlarged_by_repeating_pixels_is_left_alone():
    large = np.kron(tissue(FAN)[::3, ::3], np.ones((3, 3), np.uint8))
    fan = np.kron(FAN[::3, ::3], np.ones((3, 3), bool))
    assert not find_drawn(large, fan).any()


def test_no_fan_and_a_tiny_frame_are_survived():
    assert not find_drawn(SMOOTH, np.zeros_like(FAN)).any()
    assert find_drawn(np.zeros((1, 4), np.uint8), np.ones((1, 4), bool)).shape == (1, 4)


def grains(n: int) -> np.ndarray:
    """A dark frame with n even, sharply ending grains all over the fan, as hard-contrast speckle has them."""
    rng = np.random.default_rng(0)
    grey = (SMOOTH * 0.3).astype(np.uint8)
    ys, xs = np.nonzero(FAN)
    for i in rng.choice(len(ys), n, replace=False):
        grey[ys[i] : ys[i] + 2, xs[i] : xs[i] + 5] = rng.integers(90, 200)
    return grey


def test_a_few_marks_are_overlay_and_hundreds_everywhere_are_the_picture_itself():
    assert (find_drawn(grains(30), FAN) & FAN).sum() > 100
    assert (find_drawn(grains(300), FAN) & FAN).sum() < 10  # of some 3,000 pixels
