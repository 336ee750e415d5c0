"""The lexicon against readings real engines produced, and properties that hold for any text."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.text.lexicon import ALIASES, QUALIFIERS, fold, match_view, normalise, views_named

# Readings of EasyOCR, RapidOCR and Tesseract on rendered labels and on real screens, and what they must give.
READINGS = [
    ("3VVI3VT", "3VV/3VT"),
    ("3VVIBVT", "3VV/3VT"),
    ("3WVIBVT", "3VV/3VT"),
    ("3WV", "3VV/3VT"),
    ("3W", "3VV/3VT"),
    ("SVT", "3VV/3VT"),
    ("BVT", "3VV/3VT"),
    ("3 VV", "3VV/3VT"),
    ("31V", None),
    ("SW", None),
    ("37", None),
    ("LIPSINOSE", "Lips/Nose"),
    ("NoselLips", "Lips/Nose"),
    ("NOSEILIPS", "Lips/Nose"),
    ("4 CH", "4CH"),
    ("ACH", "4CH"),
    ("40H", "4CH"),
    ("ECH", None),
    ("CH", None),
    ("ICH", None),
    ("PVOT", None),
    ("VOT", None),
    ("LYOT", "LVOT"),
    ("FCOT", "Feet"),
    ("F0T", None),
    ("CRBIS", None),
    ("DIAPHRAGN", "Diaphragm"),
    ("SPNIE", "Spine"),
    ("KlDNEY", "Kidney"),
    ("CORDINSERTION", "Cord Insertion"),
    ("CoRD INSERTI0N", "Cord Insertion"),
    ("rt kidney", "Kidney"),
    ("SPINE SAG", "Spine"),
    ("4 CHAMBER HEART", "4CH"),
    ("ABD CORD INSERTION", "Cord Insertion"),
    ("FETAL ABDOMEN", "Abdomen"),
    ("FACE PROFILE", "Profile"),
    ("PROFILE SAG LONG", "Profile"),
    # Screen furniture, presets and measurements.
    ("E10", None),
    ("MI 11TIs 0.2", None),
    ("2+3.Trim.", None),
    ("Fetal Heart", None),
    ("Cardiac", None),
    ("OB", None),
    ("OB ABDOMEN", None),
    ("HC", None),
    ("AC", None),
    ("FL 32.3mm", None),
    ("HEAD CIRC", None),
    ("FEMUR LENGTH", None),
    ("RAB4-8-D/OB", None),
    ("SRI II 3", None),
    ("C6 / M7", None),
    ("Har-mid", None),
    ("GA=20w3d", None),
    ("12.Ocm / 1.9 / 49Hz", None),
    ("PLACENTA", None),
    ("PLACENTAL CORD INSERTION", None),
    ("CORD", None),
    ("INSERTION", None),
    # Two views.
    ("LVOT RVOT", None),
    ("LVOT/RVOT", None),
    ("SPINE KIDNEY", None),
    ("FEMUR FOOT", None),
]


@pytest.mark.parametrize(("text", "view"), READINGS)
def test_real_readings(text, view):
    match = match_view(text)
    assert (match.view if match else None) == view


@pytest.mark.parametrize(("view", "alias"), [(view, alias) for view in VIEWS for alias in ALIASES[view]])
def test_every_alias_matches_exactly_in_any_case(view, alias):
    for text in (alias, alias.lower(), alias.title(), f" {alias}. "):
        match = match_view(text)
        assert match is not None and (match.view, match.score, match.rule) == (view, 1.0, "exact"), text


def test_every_view_has_aliases_and_none_is_shared_even_when_folded():
    assert set(ALIASES) == set(VIEWS)
    folded = [(fold(alias), view) for view in VIEWS for alias in ALIASES[view]]
    assert len({text for text, _ in folded}) == len({*folded})


def test_two_views_in_one_text_are_both_named():
    assert {match.view for match in views_named("LVOT RVOT")} == {"LVOT", "RVOT"}


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_judged_without_a_crash(text):
    match = match_view(text)
    assert match is None or (match.view in VIEWS and 0 < match.score <= 1)


@given(st.text(string.ascii_uppercase + string.digits + " /", max_size=14))
@settings(max_examples=500, deadline=None)
def test_outflow_tracts_never_cross(text):
    match = match_view(text)
    letters = normalise(text)
    if match is not None and match.alias == "LVOT":
        assert "R" not in letters.split("VOT")[0]
    if match is not None and match.alias == "RVOT":
        assert "R" in letters


@pytest.mark.parametrize("view", ["LVOT", "RVOT"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_one_slip_in_an_outflow_label_never_names_the_other(view, data):
    position = data.draw(st.integers(0, 3))
    character = data.draw(st.sampled_from(string.ascii_uppercase + string.digits))
    change = data.draw(st.sampled_from(["replace", "insert", "delete"]))
    after = position + (change != "insert")
    text = view[:position] + ("" if change == "delete" else character) + view[after:]
    other = "RVOT" if view == "LVOT" else "LVOT"
    match = match_view(text)
    # A first letter that reads as the other one (I, 1, J for L) is the other label: nobody could tell.
    assert match is None or match.view == view or fold(text) == fold(other)


@given(
    st.sampled_from([(view, alias) for view in VIEWS for alias in ALIASES[view]]), st.sampled_from(sorted(QUALIFIERS))
)
@settings(max_examples=300, deadline=None)
def test_qualifiers_do_not_change_the_view(entry, qualifier):
    view, alias = entry
    if len(normalise(alias)) < 3:
        return
    match = match_view(f"{alias} {qualifier}")
    assert match is not None and match.view == view
