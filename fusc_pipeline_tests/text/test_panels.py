"""Grey bars and plates are found as a whole, with their white, black or hidden ends; fluid and bone are neither."""

import cv2
import numpy as np

from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.panels import find_black_plates, find_panels, find_plate
from fusc_pipeline_tests.text.screens import fan_mask, tissue

FAN = fan_mask()
BRIGHT = np.where(FAN, cv2.GaussianBlur(tissue(FAN, level=110), (0, 0), 1.2), 0).astype(np.uint8)


def with_logo(grey):
    """A black plate of 26 x 60 pixels with white letters, and the letters' box."""
    screen = grey.copy()
    screen[150:176, 170:230] = 0
    cv2.putText(screen, "Vol E6", (174, 168), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 240, 1, cv2.LINE_AA)
    return screen, Word(174, 157, 226, 170, "Vol E6", 0.9)


def test_a_grey_bar_is_found_with_its_white_and_black_ends():
    grey = BRIGHT.copy()
    levels = np.clip(np.linspace(275, -20, 120), 0, 255).astype(np.uint8)
    grey[120:240, 190:202] = levels[:, None]
    bar = np.zeros_like(FAN)
    bar[120:240, 190:202] = True
    found = find_panels(grey)
    assert found[bar].all()
    assert (found & ~bar).sum() < 0.05 * bar.sum()


def test_the_plate_of_a_word_is_found_to_its_edges():
    screen, word = with_logo(BRIGHT)
    assert find_plate(screen, word) == (150, 176, 170, 230)


def test_a_plate_is_found_without_a_word():
    screen, _ = with_logo(BRIGHT)
    # Where the tissue beside it is as black, an edge cannot be seen to its end.
    assert any(np.abs(np.subtract(box, (150, 176, 170, 230))).max() <= 3 for box in find_black_plates(screen, FAN))


def test_a_word_typed_over_fluid_has_no_plate():
    screen = BRIGHT.copy()
    cv2.ellipse(screen, (200, 165), (70, 40), 0, 0, 360, 0, -1)
    screen = cv2.GaussianBlur(screen, (0, 0), 1.5)
    cv2.putText(screen, "Vol E6", (174, 168), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 240, 1, cv2.LINE_AA)
    assert find_plate(screen, Word(174, 157, 226, 170, "Vol E6", 0.9)) is None
    assert not find_black_plates(screen, FAN)


def test_a_word_on_tissue_has_no_plate_nor_has_a_blackened_corner():
    assert find_plate(BRIGHT, Word(174, 157, 226, 170, "x", 0.9)) is None
    blackened = BRIGHT.copy()
    blackened[200:260, 200:] = 0
    assert not find_black_plates(blackened, FAN)


def test_tissue_is_no_panel():
    assert not find_panels(BRIGHT).any()
    assert not find_black_plates(np.zeros_like(BRIGHT), np.zeros_like(FAN))
