"""A machine's grey bar and depth ruler on a tight crop, over tissue: found in their kinds, and nothing without them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.scans.fan import find_fan
from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.greybar import find_grey_bars
from fusc_pipeline.text.removal import remove_text
from fusc_pipeline.text.ruler import find_rulers
from fusc_pipeline_tests.text.test_calipers import through

REAL = Path(__file__).resolve().parents[3] / "shared" / "real_planes" / "Images"
SHAPE = (420, 560)
FAN = np.ones(SHAPE, bool)


def tissue(seed, mean=60.0):
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.rayleigh(1, SHAPE), (0, 0), 1.8)
    coarse = cv2.GaussianBlur(rng.rayleigh(1, SHAPE), (0, 0), 14)
    speckle = 0.2 * (fine - fine.mean()) / fine.std() + 0.25 * (coarse - coarse.mean()) / coarse.std()
    return np.clip(mean * (1 + speckle), 4, 230).astype(np.uint8)


@pytest.mark.parametrize("quality", [None, 88])
@pytest.mark.parametrize(("left", "width", "top", "length"), [(0, 8, 28, 190), (2, 26, 12, 80), (546, 12, 60, 150)])
@pytest.mark.parametrize("way", ["plain", "dithered", "curved", "notched"])
def test_a_grey_bar(left, width, top, length, way, quality):
    pixels = tissue(3)
    levels = np.linspace(1, 0, length) ** (1.5 if way == "curved" else 1)
    bar = np.repeat((252 * levels)[:, None], width, 1)
    if way == "dithered":
        bar = np.clip(bar + np.random.default_rng(1).normal(0, 14, bar.shape), 0, 255)
    pixels[top : top + length, left : left + width] = bar.astype(np.uint8)
    if way == "notched":
        pixels[top + length // 2 : top + length // 2 + 3, left : left + 3] = 0
    found = find_grey_bars(through(pixels, quality))
    bright = np.s_[top + 8 : top + length * 2 // 3, left + 1 : left + width - 1]
    assert found[bright].mean() > 0.98
    found[max(0, top - 12) : top + length + 12, max(0, left - 4) : left + width + 4] = False
    assert found.mean() < 0.001


@pytest.mark.parametrize("quality", [None, 88])
@pytest.mark.parametrize("column", [14, 22, 540])
@pytest.mark.parametrize("step", [17, 31.5, 60])
def test_a_ruler_of_dots_and_dashes(column, step, quality):
    pixels, drawn = tissue(5), np.zeros(SHAPE, bool)
    for number, y in enumerate(np.arange(20, SHAPE[0] - 8, step)):
        width = 8 if number % 5 == 0 else 3
        drawn[round(y) : round(y) + 2, column : column + width] = True
    pixels[drawn] = 235
    found = find_rulers(through(pixels, quality), FAN)
    assert cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8))[drawn].mean() > 0.95
    found[:, column - 6 : column + 30] = False
    assert not found.any()


def test_the_focus_mark_beside_a_ruler():
    pixels, mark = tissue(6), np.zeros(SHAPE, np.uint8)
    for y in range(20, 400, 24):
        pixels[y : y + 2, 22:25] = 235
    cv2.fillPoly(mark, [np.array([(36, 200), (42, 205), (36, 210)])], 1)
    pixels[mark > 0] = 240
    assert find_rulers(pixels, FAN)[mark > 0].mean() > 0.9


@pytest.mark.parametrize("seed", range(8))
def test_tissue_has_neither(seed):
    for mean in (40, 80, 140):
        assert not find_grey_bars(tissue(seed, mean)).any()
        assert find_rulers(tissue(seed, mean), FAN).mean() < 5e-4
    frame = render_frame(PhantomConfig(n_frames=8, seed=31, cine_share=0), seed)
    assert not find_grey_bars(frame.anatomy).any()
    assert not find_rulers(frame.anatomy, frame.fan).any()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real planes are not beside the project")
def test_no_bar_is_left_on_real_planes():
    """Every sixtieth frame: what was found before cleaning is not found after it."""
    before = after = 0
    for path in sorted(REAL.iterdir())[::60]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        fan = find_fan(pixels)
        before += (find_grey_bars(grey_and_chroma(pixels)[0]) & fan.mask).any()
        after += find_grey_bars(remove_text(pixels, fan.mask, (), seed=1).image).any()
    assert before >= 8
    assert after == 0
