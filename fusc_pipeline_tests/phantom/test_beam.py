"""The fan's geometry and the speckle's statistics."""

import math

import numpy as np
import pytest

from fusc_pipeline.phantom.beam import BEAMS, DEPTHS, Sound, _speckle, picture
from fusc_pipeline.phantom.canvas import Canvas, Pose
from fusc_pipeline.phantom.machine_styles import MACHINES, Fan, choose_fan

SOUND = Sound(gain_db=0.0, attenuation=1.0, wall=0.0, far_fade=0.0, contact_shadows=0, seed=3)


@pytest.mark.parametrize("seed", range(6))
def test_the_fan_is_the_sector_inside_the_window(seed: int) -> None:
    """Against trigonometry, pixel by pixel, at a grid of pixels away from the very edge."""
    rng = np.random.default_rng(seed)
    fan = choose_fan(MACHINES[seed % len(MACHINES)], rng, 12.0)
    mask = fan.mask(*fan.polar())
    assert mask.shape == fan.size
    x0, y0, x1, y1 = fan.window
    for y in range(0, fan.size[0], 23):
        for x in range(0, fan.size[1], 29):
            dx, dy = x - fan.apex[0], y - fan.apex[1]
            radius, angle = math.hypot(dx, dy), math.atan2(dx, dy)
            margin = min(radius - fan.r0, fan.r1 - radius, (fan.half_angle - abs(angle)) * radius)
            if abs(margin) < 0.5:
                continue
            assert mask[y, x] == (margin > 0 and x0 <= x < x1 and y0 <= y < y1)


def test_fans_are_whole_or_cut_and_always_fill_a_fair_part_of_the_screen() -> None:
    rng = np.random.default_rng(0)
    zooms, filled = [], []
    for k in range(60):
        fan = choose_fan(MACHINES[k % len(MACHINES)], rng, float(rng.uniform(8, 17)))
        zooms.append(fan.zoom)
        filled.append(fan.mask(*fan.polar(4), step=4).mean())
    assert 0.2 < np.mean(np.array(zooms) == 1.0) < 0.5
    assert min(filled) > 0.2


def test_speckle_is_fully_developed_and_keeps_the_mean_power() -> None:
    """One look of uniform tissue: exponential power, so the mean is the tissue's and the amplitude's SNR 1.91."""
    power = np.full((DEPTHS, BEAMS), 0.3, np.float32)
    received = np.concatenate([_speckle(power, (1.0, 2.0), 1, np.random.default_rng(k)).ravel() for k in range(4)])
    assert received.mean() == pytest.approx(0.3, rel=0.04)
    amplitude = np.sqrt(received)
    assert amplitude.mean() / amplitude.std() == pytest.approx(math.sqrt(math.pi / (4 - math.pi)), rel=0.03)


def test_compounding_lowers_speckle_contrast_by_the_root_of_the_looks() -> None:
    power = np.full((DEPTHS, BEAMS), 0.3, np.float32)
    contrast = []
    for looks in (1, 3):
        received = _speckle(power, (1.0, 2.0), looks, np.random.default_rng(0))
        contrast.append(received.std() / received.mean())
    assert contrast[0] / contrast[1] == pytest.approx(math.sqrt(3), rel=0.07)


def _uniform(fan: Fan) -> Canvas:
    height, width = (side // 2 for side in fan.size)
    return Canvas(np.full((height, width), 0.2, np.float32), Pose((width / 2, height / 2), 0.0, height / 10))


def test_behind_bone_it_is_dark_and_behind_fluid_bright() -> None:
    machine = MACHINES[0]
    fan = Fan((400.0, -200.0), 0.6, 260.0, 780.0, (0, 60, 790, 600), machine.size, 1.0)
    shown = {}
    for kind in ("tissue", "bone", "fluid"):
        canvas = _uniform(fan)
        if kind == "bone":
            canvas.bone[120:126, 170:230] = 1.0
        if kind == "fluid":
            canvas.echo[80:180, 160:240] = 6e-4
        pixels, mask = picture(canvas, 2, fan, machine, SOUND, np.random.default_rng(1))
        assert pixels.dtype == np.uint8 and (pixels[~mask] == 0).all()
        shown[kind] = pixels[420:500, 380:420].mean()
    assert shown["bone"] < 0.5 * shown["tissue"] < shown["tissue"] < shown["fluid"]
