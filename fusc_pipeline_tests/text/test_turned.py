"""Crops of lines that run upwards, downwards and upside down, and letters one below another; both engines read them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.crops import stretch
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine
from fusc_pipeline.text.turned import side_by_side, upright
from fusc_pipeline.text.weights import resolve_weights
from fusc_pipeline_tests.text.screens import fan_mask, font, tissue, typed

NAME = "LINDQVIST ANNA"
FAN = fan_mask(480, 640)


def line(text=NAME, size=22, ink=255, spacing=4):
    """(h, w) uint8: a line of text, white on black."""
    from PIL import Image, ImageDraw

    face = font(size)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
        (0, 0), text, face, spacing=spacing
    )
    image = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(image).multiline_text((4 - left, 4 - top), text, ink, face, spacing=spacing, align="center")
    return np.asarray(image)


def screen(angle, text=NAME, seed=0, ink=245, level=70, at=(240, 320)):
    """(H, W) uint8 tissue with a line whose middle is at (y, x), turned counter-clockwise by the angle; its box."""
    strokes = np.rot90(line(text), angle // 90).astype(float) / 255
    picture = tissue(FAN, seed, level).astype(float)
    y, x = at[0] - strokes.shape[0] // 2, at[1] - strokes.shape[1] // 2
    here = np.s_[y : y + strokes.shape[0], x : x + strokes.shape[1]]
    picture[here] = picture[here] * (1 - strokes) + ink * strokes
    return picture.astype(np.uint8), (x, y, x + strokes.shape[1], y + strokes.shape[0])


@pytest.fixture(scope="module")
def rapid():
    return RapidOcrEngine.sensitive(canvas=640)


@pytest.fixture(scope="module")
def easy():
    try:
        resolve_weights()
    except BadSetting as refusal:
        pytest.skip(str(refusal))
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    return EasyOcrEngine()


@pytest.fixture(params=["rapid", "easy"])
def engine(request):
    return request.getfixturevalue(request.param)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from((0, 90, 180, 270)), st.booleans())
def test_turning_back_a_turned_crop_gives_it_again(height, width, angle, colour):
    crop = np.random.default_rng(height * 31 + width).integers(
        0, 256, (height, width, 3)[: 3 if colour else 2], np.uint8
    )
    assert np.array_equal(upright(np.rot90(crop, angle // 90), angle), crop)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_line_is_read_in_the_direction_it_runs(engine, angle):
    picture, (x0, y0, x1, y1) = screen(angle)
    words = [word for word in engine.read(picture) if word.confidence > 0.5]
    assert " ".join(word.text for word in sorted(words, key=lambda w: -w.y0 if angle == 90 else w.y0)) == NAME
    assert {word.angle for word in words} == {angle}
    assert min(w.x0 for w in words) <= x0 + 6 and max(w.x1 for w in words) >= x1 - 6
    assert min(w.y0 for w in words) <= y0 + 6 and max(w.y1 for w in words) >= y1 - 6
    assert all(word.thickness < 50 for word in words)


@pytest.mark.parametrize(("angle", "text"), [(90, "NOVAK 7741"), (270, "MOREAU JANA 1987"), (270, "BRANDT")])
def test_dark_letters_are_read_turned_as_well(easy, angle, text):
    """The other engine finds no dark letters on speckle at all."""
    picture, _ = screen(angle, text, seed=3, ink=0, level=150)
    read = "".join(w.text for w in sorted(easy.read(picture), key=lambda w: w.y0 * (1 if angle == 270 else -1)))
    assert text.split()[0] in read.upper()


@pytest.mark.parametrize("text", ["MARCHETTI", "NOVAK", "BEATRIZ"])
def test_letters_one_below_another_are_a_word(engine, text):
    picture, _ = screen(0, "\n".join(text))
    assert text in {word.text for word in engine.read(picture) if word.angle == 270}


@given(st.integers(0, 2**31), st.integers(3, 60), st.integers(1, 30))
def test_any_crop_is_survived_and_what_comes_is_no_taller(seed, height, width):
    crop = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    laid = side_by_side(crop, crop)
    assert laid is None or (0 < laid.shape[0] <= height and laid.shape[1] <= width * height)


def test_a_line_that_runs_downwards_is_no_column_of_letters():
    crop = np.ascontiguousarray(np.rot90(line("HHHH"), 3))
    assert side_by_side(cv2.blur(crop, (9, 9)), cv2.blur(crop, (9, 9))) is None


def test_a_column_keeps_every_letter():
    column = line("N\nO\nV\nA\nK", spacing=8)
    laid = side_by_side(column, stretch(column))
    ink = (column > 128).sum()
    assert laid.shape[1] > 2 * laid.shape[0] and abs(int((laid > 128).sum()) - int(ink)) < 0.02 * ink


def test_speckle_is_no_turned_line(engine):
    for seed in range(3):
        assert not [w for w in engine.read(tissue(FAN, seed)) if w.angle and w.confidence > 0.5 and len(w.text) > 2]


def test_given_places_are_read_along_their_angle_and_clipped(rapid):
    for angle in (0, 90, 270):
        picture, (x0, y0, x1, y1) = screen(angle)
        (word,) = rapid.read_places(picture, [Word(x0, y0, x1, y1, "", 0.0, angle)])
        assert word.text == NAME and word.angle == angle
    beyond = [Word(-50, -50, -10, 20, "", 0.0), Word(630, 10, 900, 12, "", 0.0), Word(-40, 0, 20, 30, "", 0.0)]
    assert all(word.x0 >= 0 and word.x1 <= 640 for word in rapid.read_places(picture, beyond))
    assert rapid.read_places(picture, []) == []


def test_a_label_typed_upright_stays_upright(engine):
    picture, _, _ = typed(tissue(FAN), "CORD INSERTION", (230, 250), (255, 255, 60), 22)
    assert {word.angle for word in engine.read(picture)} == {0}
