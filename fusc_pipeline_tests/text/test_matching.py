"""Joining words into lines and annotations, and what a frame's words add up to."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.labels import REASONS, label_readings, readings_of
from fusc_pipeline.text.matching import match_words


def word(text, x, y, height=20, confidence=0.9):
    return Word(x, y, x + 12 * len(text), y + height, text, confidence)


def label(*words, **settings_):
    return label_readings(readings_of(words, match_words(words)), **settings_)


def views(*words):
    return [match.view if match else None for match in match_words(words)]


def test_words_of_one_line_are_joined():
    assert views(word("CORD", 100, 100), word("INSERTION", 160, 101)) == ["Cord Insertion"] * 2
    assert views(word("RT", 100, 100), word("KIDNEY", 130, 99)) == ["Kidney"] * 2
    assert views(word("4", 100, 100), word("CH", 118, 100)) == ["4CH"] * 2


def test_lines_of_one_annotation_are_joined():
    assert views(word("CORD", 100, 100), word("INSERTION", 100, 124)) == ["Cord Insertion"] * 2
    assert views(word("3VV /", 100, 100), word("3VT", 104, 124)) == ["3VV/3VT"] * 2
    assert views(word("spine", 100, 100), word("sag", 100, 124)) == ["Spine", "Spine"]


def test_the_longer_exact_reading_decides():
    assert views(word("ABDO", 100, 100), word("CORD INSERTION", 100, 124)) == ["Cord Insertion"] * 2


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_turned_words_name_no_view_and_join_no_line(angle):
    turned = replace(word("FEMUR", 100, 100), angle=angle)
    assert views(turned) == [None] and label(turned).view is None
    assert views(word("CORD", 100, 100), replace(word("INSERTION", 160, 101), angle=angle))[1] is None
    assert label(word("SPINE", 100, 100), turned).view == "Spine"
    both = replace(word("FEMUR SPINE", 100, 200), angle=angle)
    assert label(word("SPINE", 100, 100), both).reason == "labelled"


def test_words_far_apart_are_not_joined():
    assert views(word("CORD", 100, 100), word("INSERTION", 400, 100)) == [None, None]
    assert views(word("CORD", 100, 100), word("INSERTION", 100, 300)) == [None, None]


def test_a_preset_in_a_settings_column_is_no_label():
    column = [
        word(text, 700, 60 + 16 * i, height=14) for i, text in enumerate(["Abdomen", "Har-mid", "Pwr 93 %", "Gn 4"])
    ]
    assert views(*column) == [None] * 4
    assert label(*column, word("SPINE", 300, 300)).view == "Spine"
    # A name that no preset has is a label wherever it was typed.
    assert label(*column, word("3VT", 700, 124, height=14)).view == "3VV/3VT"


def test_a_harmless_second_annotation_changes_nothing():
    assert label(word("FEMUR", 100, 100), word("PLACENTA", 300, 400), word("RT", 500, 80)).view == "Femur"


def test_reasons():
    assert label().reason == "no_text"
    assert label(word("Voluson", 0, 0)).reason == "no_match"
    assert label(word("FEMUR", 100, 100), word("SPINE", 300, 300)).reason == "ambiguous"
    assert label(word("LVOT RVOT", 100, 100)).reason == "ambiguous"
    assert label(word("FEMUR", 100, 100, confidence=0.1)).reason == "low_confidence"
    assert label(word("FEMUR", 100, 100, confidence=0.1), min_score=0.05).view == "Femur"
    sure = label(word("FEMUR", 100, 100, confidence=0.8))
    assert (sure.view, sure.alias, sure.reason) == ("Femur", "FEMUR", "labelled")
    assert sure.score == pytest.approx(0.8)


def test_two_annotations_of_one_view_agree():
    assert label(word("FEMUR", 100, 100), word("RT FEMUR", 300, 300)).view == "Femur"


def test_words_and_matches_must_go_together():
    with pytest.raises(ValueError, match="shorter"):
        readings_of([word("FEMUR", 0, 0)], [])


WORDS = st.lists(
    st.builds(
        lambda text, x, y, w, h, c: Word(x, y, x + w, y + h, text, c),
        st.sampled_from(["SPINE", "CORD", "INSERTION", "RT", "KIDNEY", "3VV", "Gn 4", "", "LVOT", "12mm", "e8"]),
        st.integers(0, 700),
        st.integers(0, 500),
        st.integers(1, 200),
        st.integers(1, 60),
        st.floats(0, 1),
    ),
    max_size=12,
)


@given(WORDS)
@settings(max_examples=200, deadline=None)
def test_any_words_give_one_reason(words):
    decision = label(*words)
    assert decision.reason in REASONS
    assert (decision.view is not None) == (decision.reason == "labelled") == (decision.score is not None)
