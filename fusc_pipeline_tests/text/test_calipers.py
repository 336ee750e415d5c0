"""Calipers over tissue: found whatever their angle, shape, colour and compression; and none where none were drawn."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.text.calipers import find_calipers
from fusc_pipeline.text.removal import remove_text

FAN = np.ones((300, 400), bool)


def tissue(seed=0, mean=80.0, grain=1.6):
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.rayleigh(1, FAN.shape), (0, 0), grain)
    coarse = cv2.GaussianBlur(rng.rayleigh(1, FAN.shape), (0, 0), 14)
    speckle = 0.22 * (fine - fine.mean()) / fine.std() + 0.18 * (coarse - coarse.mean()) / coarse.std()
    return np.clip(mean * (1 + speckle), 6, 250).astype(np.uint8)


def through(pixels, quality):
    if quality is None:
        return pixels
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def dotted(points, level=240):
    drawn = np.zeros(FAN.shape, bool)
    for x, y in points:
        drawn[round(y), round(x)] = True
    return drawn, level


def found_share(drawn, level, quality=None, seed=0):
    pixels = tissue(seed)
    pixels[drawn] = level
    found = cv2.dilate(find_calipers(through(pixels, quality), FAN).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    far = cv2.dilate(drawn.astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    return found[drawn].mean(), (found & far).mean()


@pytest.mark.parametrize("quality", [None, 88])
@pytest.mark.parametrize("step", [3.0, 4.3, 6.0])
@pytest.mark.parametrize("degrees", [0, 17, 45, 80, 123])
def test_a_dotted_line_at_any_angle(degrees, step, quality):
    way = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    drawn, level = dotted([(200, 150) + way * step * k for k in range(-16, 17)])
    share, elsewhere = found_share(drawn, level, quality)
    assert share >= 0.97 and elsewhere < 0.002


@pytest.mark.parametrize("quality", [None, 88])
@pytest.mark.parametrize("axes", [(90, 60), (45, 45), (120, 50)])
@pytest.mark.parametrize("level", [255, 190])
def test_a_dotted_ellipse(axes, level, quality):
    fine = np.linspace(0, 2 * np.pi, 4000)
    line = np.column_stack([200 + axes[0] * np.cos(fine), 150 + axes[1] * np.sin(fine)])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    drawn, _ = dotted(line[np.searchsorted(way, np.arange(0, way[-1] - 2, 4.5))])
    share, elsewhere = found_share(drawn, level, quality)
    assert share >= 0.97 and elsewhere < 0.002


@pytest.mark.parametrize("quality", [None, 88])
@pytest.mark.parametrize("arm", [3, 5, 7])
@pytest.mark.parametrize("slanted", [False, True])
def test_crosses_and_the_digit_at_their_corner(slanted, arm, quality):
    drawn = np.zeros(FAN.shape, bool)
    for x, y in ((80, 90), (300, 210)):
        for k in range(-arm, arm + 1):
            for dx, dy in ((k, k), (k, -k)) if slanted else ((k, 0), (0, k)):
                drawn[y + dy, x + dx] = True
    digit = np.zeros(FAN.shape, np.uint8)
    cv2.putText(digit, "2", (80 + arm + 3, 90 - arm - 2), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    both = drawn | (digit > 0)
    share, elsewhere = found_share(both, 245, quality)
    assert share >= 0.97 and elsewhere < 0.001


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("grain", [1.1, 1.6])
def test_speckle_is_no_caliper(seed, grain):
    for mean in (40, 90, 160):
        assert find_calipers(tissue(seed, mean, grain), FAN).mean() < 2e-4


def test_phantoms_with_calipers_lose_them_and_others_keep_their_pixels():
    config = PhantomConfig(n_frames=6, seed=107, p_calipers=1.0, cine_share=0)
    shares = []
    for index in range(6):
        frame, plain = (
            render_frame(config, index),
            render_frame(PhantomConfig(n_frames=6, seed=107, cine_share=0), index),
        )
        assert (frame.screen != plain.screen).any(2)[~frame.calipers].sum() == 0
        assert frame.calipers.any() and not (frame.calipers & ~frame.ink).any()
        shares.append(remove_text(frame.screen, frame.fan, (), seed=index).ink[frame.calipers].mean())
    assert np.mean(shares) > 0.98
