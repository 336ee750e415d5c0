"""What counts as text left, how it is tabled, and which frames are shown."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusc_pipeline.audits import removal_audit, worst_pictures
from fusc_pipeline.audits.removal_audit import Leak, Share
from fusc_pipeline.audits.residual import Found, found_on
from fusc_pipeline.base.schemas import INPAINTING_AUDIT
from fusc_pipeline.report.audit_sections import AuditPicture, removal_section

BOX = (10, 12, 40, 24)


@pytest.mark.parametrize(
    ("text", "confidence", "word", "faint"),
    [
        ("LIP", 0.51, True, True),
        ("LIP", 0.5, False, True),
        ("4CH", 0.9, False, True),
        ("A1B2", 0.31, False, True),
        ("I", 0.99, False, False),
        ("123 456", 0.99, False, False),
        ("RT KIDNEY", 0.3, False, False),
    ],
)
def test_three_letters_above_a_half_are_a_word(text, confidence, word, faint):
    found = found_on([(BOX, text, confidence)])
    assert (bool(found.words), bool(found.faint)) == (word, faint)


def found(**words):
    return {image: Found((BOX,) * n, (BOX,) * n) for image, n in words.items()}


def test_rows_count_frames_by_engine_and_by_either():
    rows = removal_audit.residual_rows({"easyocr": found(a=2, b=0, c=0), "rapidocr": found(a=1, b=1, c=0)})
    table = pd.DataFrame(rows)
    assert list(table.columns) == INPAINTING_AUDIT.names
    for by, count in (("easyocr", 1), ("rapidocr", 2), ("either", 2)):
        row = removal_audit.figure(table, removal_audit.RESIDUAL, by)
        assert (row.n, row.count, row.value) == (3, count, pytest.approx(count / 3))
        assert row.low < row.value < row.high
    assert removal_audit.engines_of(table) == ["easyocr", "rapidocr"]


def test_the_worst_are_those_with_words_then_the_most_repainted():
    worst = removal_audit.worst_frames(
        {"easyocr": found(a=1, b=0, c=0, d=0), "rapidocr": found(a=0, b=2, c=0, d=0)},
        {"a": 0.01, "b": 0.02, "c": 0.1, "d": 0.2},
        3,
    )
    assert [case.image_id for case in worst] == ["b", "a", "d"]
    assert worst[0].why == "text left, read by rapidocr" and worst[2].why == "20.0 % of the picture repainted"


def test_pictures_outline_and_cover():
    clean = np.full((60, 80), 90, np.uint8)
    seen = np.asarray(Image.open(io.BytesIO(worst_pictures.outlined(clean, [(40, 30, 60, 40)], [BOX]))))
    hidden = np.asarray(Image.open(io.BytesIO(worst_pictures.outlined(clean, [], [BOX], cover=True))))
    x0, y0, x1, y1 = BOX
    assert (seen[y0:y1, x0:x1] == 90).all()
    assert (hidden[y0:y1, x0:x1] == worst_pictures.LEFT_COLOUR).all()
    assert (seen == worst_pictures.FORMER_COLOUR).all(2).any()
    assert worst_pictures.strip([]) is None
    assert Image.open(io.BytesIO(worst_pictures.strip([worst_pictures.outlined(clean, [], [])] * 9))).height == 150


def leak(difference, power, width=0.02):
    def share(value):
        return Share(None, value, value - width, value + width)

    accuracy = {name: Share(10, 0.1, 0.05, 0.2) for name in ("former_text", "control", "uncleaned")}
    return Leak(100, 12, accuracy, share(difference), share(power))


@pytest.mark.parametrize(
    ("made", "reason", "good", "words"),
    [
        (leak(0.0, 0.5), None, True, "do not give the label away"),
        (leak(0.2, 0.5), None, False, "give the label away"),
        (leak(0.0, 0.01), None, None, "too weak here to say anything"),
        (None, "not measured: 7 frames of 2 subjects", None, "7 frames of 2 subjects"),
    ],
)
def test_the_section_says_what_the_figures_say(made, reason, good, words):
    rows = removal_audit.residual_rows({"easyocr": found(a=0, b=0)}) + removal_audit.leak_rows(made, reason)
    section = removal_section(pd.DataFrame(rows), [AuditPicture(b"", "why")])
    assert section.leak_good is good and words in section.leak and section.clean
    assert "found no word on any" in section.text and len(section.probe) == (3 if made else 0)


def test_a_word_left_is_said_first():
    section = removal_section(
        pd.DataFrame(removal_audit.residual_rows({"easyocr": found(a=1, b=0)}) + removal_audit.leak_rows(None, "x")), []
    )
    assert not section.clean and "On 1 of 2 cleaned frames a word can still be read" in section.text
