"""Figures made of attention, the sentences made of them, and the pictures beside them."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusc_pipeline.audits import removal_audit
from fusc_pipeline.audits.attention_pictures import attention_pair
from fusc_pipeline.audits.attention_rows import (
    ACCURACY,
    CLEANED,
    CONTROL,
    EXCESS,
    SHARE,
    UNCLEANED,
    Attention,
    attention_rows,
    not_measured,
    too_few,
    views_of,
)
from fusc_pipeline.audits.worst_pictures import FORMER_COLOUR
from fusc_pipeline.base.schemas import INPAINTING_AUDIT
from fusc_pipeline.report.attention_section import MapFigure, attention_section

N = 60
VIEWS = [("Femur", "Lips/Nose")[i % 2] for i in range(N)]
SUBJECTS = [f"s{i // 6}" for i in range(N)]


def seen(excess: float, right: float = 0.9) -> Attention:
    """Areas of a fiftieth of the fan, whose place draws 1.2 times their size; on every tenth frame there is none."""
    rng = np.random.default_rng(0)
    area = np.full(N, 0.02)
    area[::10] = 0
    control = np.where(area > 0, 1.2 * area, np.nan)
    mass = np.where(area > 0, control * excess * rng.normal(1, 0.1, N), 0.0)
    other = {"Femur": "Lips/Nose", "Lips/Nose": "Femur"}
    told = [view if i // 2 % 10 < 10 * right else other[view] for i, view in enumerate(VIEWS)]
    return Attention(np.array(told), mass, area, control)


def table(cleaned: Attention, uncleaned: Attention) -> pd.DataFrame:
    rows = attention_rows({CLEANED: cleaned, UNCLEANED: uncleaned}, VIEWS, SUBJECTS)
    return pd.DataFrame(rows, columns=INPAINTING_AUDIT.names)


def test_figures_are_over_all_frames_and_by_view():
    found = table(seen(1.0), seen(3.0))
    assert views_of(found) == ["Femur", "Lips/Nose"]
    accuracy = removal_audit.figure(found, ACCURACY, CLEANED)
    assert accuracy.n == N and accuracy.value == pytest.approx(accuracy.count / N) and accuracy.low > 0.7
    for by, excess in ((CLEANED, 1.0), (UNCLEANED, 3.0)):
        share, control, first = (removal_audit.figure(found, m, by) for m in (SHARE, CONTROL, EXCESS))
        assert share.n == control.n == first.n == 54 and first.detail == "10 subjects"
        assert first.value == pytest.approx(excess, rel=0.05) and first.low < first.value < first.high
        assert control.value == pytest.approx(1.2) and share.value == pytest.approx(1.2 * first.value)
        femur = removal_audit.figure(found, EXCESS, f"{by}: Femur")
        assert femur.n == 24 and femur.value == pytest.approx(excess, rel=0.1)


def test_a_classifier_that_knows_nothing_gives_no_figure_to_judge_by():
    found = removal_audit.figure(table(seen(5.0, right=0.5), seen(5.0)), EXCESS, CLEANED)
    assert found.value is None and found.low is None and found.n == 54
    assert "not measured: the classifier names" in found.detail and "attention_epochs" in found.detail


def test_frames_without_text_have_a_reason_instead_of_a_ratio():
    none = Attention(np.array(VIEWS), np.zeros(N), np.zeros(N), np.full(N, np.nan))
    found = removal_audit.figure(table(none, none), EXCESS, CLEANED)
    assert found.value is None and found.n == 0 and "no frame had text over the picture" in found.detail


def test_too_few_frames_subjects_or_views_are_said():
    enough = (["Femur", "Brain"] * 60, [f"s{i % 6}" for i in range(40)], [True] * 40)
    assert too_few(*enough) is None
    reason = too_few(["Femur"] * 60, ["s1", "s2"], [True, False])
    assert "60 labelled frames of 1 views" in reason and "1 held-out frames of 1 subjects" in reason
    assert too_few(enough[0], enough[1], [False] * 40) and too_few(enough[0], ["s1"] * 40, enough[2])


@pytest.mark.parametrize(
    ("cleaned", "uncleaned", "good", "words"),
    [
        (1.0, 3.0, True, "does not look at where text was more than is tolerated"),
        (2.0, 3.0, False, "More than 1.2 is not tolerated"),
        (1.0, 0.9, None, "This says little here"),
    ],
)
def test_the_section_says_what_the_figures_say(cleaned, uncleaned, good, words):
    section = attention_section(table(seen(cleaned), seen(uncleaned)), 1.2, [MapFigure(b"", "Femur", "why")])
    assert section.good is good and words in section.text and "54 held-out frames" in section.text
    assert [row[0] for row in section.views] == ["Femur", "Lips/Nose"]
    assert [row[0] for row in section.classifiers] == ["cleaned frames", "the same frames before cleaning"]
    assert not any("nan" in cell for row in (*section.views, *section.classifiers) for cell in row)


def test_the_section_says_why_nothing_was_measured():
    section = attention_section(pd.DataFrame(not_measured("not measured: 7 frames")), 1.2)
    assert section.good is None and section.text.endswith("was not measured: 7 frames.") and not section.views
    assert attention_section(pd.DataFrame(removal_audit.leak_rows(None, "not measured")), 1.2) is None


def test_a_pair_shows_the_frame_twice_with_heat_where_each_map_has_it():
    clean, within, area = np.full((80, 80), 60, np.uint8), np.zeros((80, 80), bool), np.zeros((80, 80), bool)
    within[10:70] = True
    area[30:36, 40:60] = True
    left, right = np.zeros((5, 5)), np.zeros((5, 5))
    left[1, 1] = right[3, 3] = 7.0
    shown = np.asarray(Image.open(io.BytesIO(attention_pair(clean, area, within, [left, right]))))
    assert shown.shape == (60, 166, 3)  # the fan's rows, twice the width and a gap
    first, second = shown[:, :80].astype(int), shown[:, 86:].astype(int)
    assert (first[14, 24] > 100).any() and (second[14, 24] == 60).all()
    assert (second[46, 56] > 100).any() and (first[46, 56] == 60).all()
    assert (first[22, 45] == 60).all() and (first == FORMER_COLOUR).all(2).any()  # outlined, not covered
    blank = attention_pair(clean, ~within & within, ~within & within, [np.zeros((5, 5))])
    assert (np.asarray(Image.open(io.BytesIO(blank))) == 60).all()
