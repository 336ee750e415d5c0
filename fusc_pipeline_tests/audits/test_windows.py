"""Where the leak probe looks: the fan of a cleaned frame, label windows and their controls."""

import numpy as np
import pytest

from fusc_pipeline.audits.windows import (
    HEIGHTS,
    PATCH,
    WIDTHS,
    cut,
    fan_area,
    fan_hull,
    grey_of,
    inside_share,
    place_pair,
)
from fusc_pipeline_tests.text.screens import fan_mask, tissue

TEXT = 16.0


@pytest.fixture(scope="module")
def fan():
    return fan_mask()


def test_the_fan_keeps_its_dark_areas_and_leaves_the_corners_out(fan):
    picture = tissue(fan)
    picture[150:210, 180:240] = 0  # fluid, black through and through
    found = fan_area(picture)
    assert (found == fan).mean() > 0.99
    assert found[150:210, 180:240].all()
    assert not found[0, 0] and not found[-1, 0] and not found[0, -1]


def test_the_hull_takes_in_a_shadow_that_reaches_the_rim(fan):
    picture = tissue(fan)
    columns = slice(fan.shape[1] // 2 - 20, fan.shape[1] // 2 + 20)
    picture[fan.shape[0] // 2 :, columns] = 0
    found = fan_area(picture)
    hull = fan_hull(found)
    assert (fan & ~found).sum() > 500 and (fan & ~hull).sum() < 0.1 * (fan & ~found).sum()
    assert not hull[-1, 0] and not hull[-1, -1] and not fan_hull(np.zeros((5, 5), bool)).any()


def test_a_control_is_clear_of_every_word_and_in_the_fan_as_much_as_the_label(fan):
    label, other = (120, 150, 190, 166), (230, 150, 280, 166)
    pair = place_pair(fan, label, [label, other], TEXT)
    assert pair.former == (158.0, 155.0)
    height, width = round(HEIGHTS * TEXT), round(WIDTHS * TEXT)
    (y, x), shares = pair.control, []
    for centre in (pair.former, pair.control):
        top, left = round(centre[0] - height / 2), round(centre[1] - width / 2)
        shares.append(inside_share(fan, (left, top, left + width, top + height)))
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    for x0, y0, x1, y1 in (label, other):
        apart = x + width / 2 <= x0 or x - width / 2 >= x1 or y + height / 2 <= y0 or y - height / 2 >= y1
        assert apart


def test_a_label_beside_the_fan_or_a_fan_full_of_words_gives_no_pair(fan):
    assert place_pair(fan, (0, 0, 60, 16), [(0, 0, 60, 16)], TEXT) is None
    label = (120, 150, 190, 166)
    assert place_pair(fan, label, [label, (0, 0, 400, 300)], TEXT) is None


def test_a_window_does_not_tell_how_long_the_word_was(fan):
    picture = tissue(fan)
    short, long = (150, 150, 170, 166), (90, 150, 230, 166)
    first, second = (place_pair(fan, box, [long], TEXT).former for box in (short, long))
    assert first == second
    assert np.array_equal(cut(picture, first, TEXT), cut(picture, second, TEXT))


def test_a_window_off_the_picture_is_black(fan):
    picture = np.full((40, 60), 200, np.uint8)
    assert cut(picture, (20.0, 30.0), TEXT).shape == PATCH
    assert cut(picture, (-300.0, -300.0), TEXT).max() == 0
    assert cut(picture, (0.0, 0.0), TEXT)[-1, -1] > 0


def test_grey_of_colour_is_its_luma():
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[..., 1] = 255
    assert (grey_of(colour) == 150).all()
    assert np.array_equal(grey_of(colour[..., 1]), colour[..., 1])
