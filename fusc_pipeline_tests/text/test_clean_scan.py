"""What is still readable is repaired or held back; content is let on by a setting; the crop's place is told."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.base.png import decode_png, encode_png
from fusc_pipeline.base.schemas import CLEAN_IMAGES
from fusc_pipeline.scans.fan import find_fan
from fusc_pipeline.text import clean_scan as cleaning
from fusc_pipeline.text.clean_scan import Cleaning, Scan, clean_scan, is_text, remove_and_check
from fusc_pipeline.text.engine import Word
from fusc_pipeline_tests.text.screens import fan_mask, tissue, typed

FAN = fan_mask()
SCREEN, INK, BOX = typed(tissue(FAN), "FEMUR", (150, 160), (245, 245, 245))
# Smoothed type has no exact level: only a word tells that it is there.
SOFT = np.where(INK[:, :, None], cv2.GaussianBlur(SCREEN, (0, 0), 0.8), SCREEN)


class Engine:
    """Reads the given word, in the frame's coordinates, as long as white is left in its box on the crop."""

    name, fingerprint = "drawn", "0"

    def __init__(self, fan, word=None, always=False, beside=()):
        self.fan, self.word, self.always, self.calls, self.beside = fan, word, always, 0, beside

    def read(self, pixels):
        self.calls += 1
        if self.word is None:
            return []
        x0, y0 = self.fan.box[:2]
        w = self.word
        there = replace(w, x0=w.x0 - x0, y0=w.y0 - y0, x1=w.x1 - x0, y1=w.y1 - y0)
        white = (pixels[there.y0 : there.y1, there.x0 : there.x1] > 200).any()
        return [there] if white or self.always else []

    def read_places(self, pixels, places):
        """What is still drawn in the places; nothing by itself."""
        self.places = places
        return [word for word in self.beside if (pixels[word.y0 : word.y1, word.x0 : word.x1] > 200).any()]


def scan(pixels=SCREEN, words=(), **changes):
    fields = {"subject_key": "s", "subject_source": "path", "machine": None}
    return Scan(
        **(dict(image_id=image_id(pixels), png=encode_png(pixels), region=None, words=words) | fields | changes)
    )


@pytest.fixture
def engine(monkeypatch):
    """Puts a checker in place of the real one."""

    def place(**options):
        made = Engine(find_fan(SCREEN), **options)
        monkeypatch.setattr(cleaning, "checker", lambda: made)
        return made

    return place


def test_a_word_the_first_engine_missed_is_repaired(engine):
    checker = engine(word=Word(*BOX, "FEMUR", 0.9))
    row = clean_scan(scan(SOFT))
    assert row["quarantined"] is None and row["repairs"] == 1 and checker.calls == 2
    image = decode_png(row["image"]["bytes"])
    inside = INK[row["crop_y0"] : row["crop_y0"] + row["height"], row["crop_x0"] : row["crop_x0"] + row["width"]]
    assert inside.sum() == INK.sum() and image[inside].max() <= 200


def test_what_stays_readable_is_held_back_without_quoting_it(engine):
    checker = engine(word=Word(*BOX, "SMITH JANE", 0.9), always=True)
    row = clean_scan(scan())
    assert row["image"] is None and "can still be read" in row["quarantined"] and "SMITH" not in row["quarantined"]
    assert row["repairs"] == cleaning.MOST_REPAIRS and checker.calls == cleaning.MOST_REPAIRS + 1


def test_a_clean_frame_is_read_once_and_the_row_fits_the_schema(engine):
    checker = engine()
    row = clean_scan(scan(words=(Word(*BOX, "", 0.9),)))
    assert checker.calls == 1 and row["repairs"] == 0 and set(row) == set(CLEAN_IMAGES.names)
    x0, y0, x1, y1 = find_fan(SCREEN).box
    assert (row["crop_x0"], row["crop_y0"], row["width"], row["height"]) == (x0, y0, x1 - x0, y1 - y0)


def test_no_check_makes_no_engine(monkeypatch):
    monkeypatch.setattr(cleaning, "checker", lambda: pytest.fail("made an engine"))
    row = clean_scan(scan(), Cleaning(check_text=False))
    assert row["repairs"] is None and row["image"] is not None


def test_what_is_read_after_a_repair_is_repainted_as_a_block(engine):
    fan = find_fan(SCREEN)
    word = Word(180, 200, 230, 215, "XYZ", 0.9)
    removed, repairs, left = remove_and_check(SCREEN, fan, [], 0, Engine(fan, word, always=True))
    assert left and repairs == cleaning.MOST_REPAIRS and removed.ink[200:215, 180:230].all()


def test_a_box_as_tall_as_tissue_repairs_nothing():
    fan = find_fan(SCREEN)
    _, repairs, left = remove_and_check(
        SCREEN, fan, [], 0, Engine(fan, Word(100, 80, 300, 220, "oo", 0.9), always=True)
    )
    assert repairs == 0 and not left


def test_content_that_is_not_listed_is_set_aside_and_the_setting_lets_it_on(engine):
    engine()
    row = clean_scan(scan(content="colour_flow"))
    assert (
        row["image"] is None and "colour_flow" in row["quarantined"] and "clean_images.contents" in row["quarantined"]
    )
    listed = clean_scan(scan(content="colour_flow"), Cleaning(contents=("b_mode", "colour_flow")))
    assert listed["image"] is not None and decode_png(listed["image"]["bytes"]).ndim == 2


@pytest.mark.parametrize(
    ("box", "text", "confidence", "angle"),
    [
        ((190, 90, 212, 250), "SMITH JANE", 0.9, 90),  # tall, because it runs upwards
        ((120, 180, 144, 260), "SMITH", 0.6, 270),
        ((100, 80, 300, 220), "SMITH", 0.9, 0),  # letters as tall as tissue, but surely read
        ((120, 100, 190, 260), "SMI TH", 0.85, 90),
    ],
)
def test_whatever_the_shape_of_its_box_what_is_surely_read_goes_or_the_frame_is_held_back(box, text, confidence, angle):
    fan = find_fan(SCREEN)
    word = Word(*box, text, confidence, angle)
    removed, repairs, left = remove_and_check(SCREEN, fan, [], 0, Engine(fan, word, always=True))
    assert repairs == cleaning.MOST_REPAIRS and left
    x0, y0, x1, y1 = box
    assert removed.ink[y0:y1, x0:x1][fan.mask[y0:y1, x0:x1]].all()


def test_what_stands_beside_a_word_on_its_line_is_read_again_and_goes():
    """An engine read half of a line: on the other half the checker's detector finds nothing, but it reads the place."""
    fan = find_fan(SCREEN)
    x0, y0 = fan.box[:2]
    box = (BOX[0] - x0, BOX[1] - y0, BOX[2] - x0, BOX[3] - y0)
    half = Word(BOX[2] + 10, BOX[1], BOX[2] + 60, BOX[3], "ANNA", 0.9)
    engine = Engine(fan, beside=(Word(*box, "FEMUR", 0.8),))
    removed, repairs, left = remove_and_check(SOFT, fan, [half], 0, engine)
    assert repairs == 1 and not left and removed.image[INK].max() <= 200
    before = [place for place in engine.places if place.x0 + x0 <= BOX[0] and place.x1 + x0 > BOX[2]]
    assert len(engine.places) == 3 and before
    for unsure in (Word(*box, "FEMUR", 0.7), Word(*box, "FE", 0.9)):
        _, repairs, left = remove_and_check(SOFT, fan, [half], 0, Engine(fan, beside=(unsure,)))
        assert repairs == 0 and not left


def test_places_of_turned_words_lie_along_them_and_none_outside_the_fan():
    fan = find_fan(SCREEN)
    engine = Engine(fan)
    remove_and_check(SCREEN, fan, [Word(190, 120, 210, 200, "", 0.9, 90), Word(0, 0, 40, 12, "", 0.9)], 0, engine)
    word, above, below = engine.places
    assert all(place.angle == 90 and place.height > place.width for place in engine.places)
    assert above.y1 < word.y1 and below.y0 > word.y0 and above.y0 < word.y0 and below.y1 > word.y1


@pytest.mark.parametrize(
    ("text", "confidence", "counts"),
    [
        ("AB", 0.6, True),
        ("A", 0.99, False),
        ("1.1", 0.9, False),
        ("12.03", 0.9, True),
        ("AB", 0.4, False),
        ("一二", 1, False),
    ],
)
def test_what_counts_as_text(text, confidence, counts):
    assert is_text(Word(0, 0, 9, 9, text, confidence)) is counts


def test_the_same_scan_gives_the_same_pixels(engine):
    engine(word=Word(*BOX, "FEMUR", 0.9))
    first, second = clean_scan(scan(SOFT)), clean_scan(scan(SOFT))
    assert np.array_equal(decode_png(first["image"]["bytes"]), decode_png(second["image"]["bytes"]))
