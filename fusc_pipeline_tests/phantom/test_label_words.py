"""What is typed on the frames."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.label_words import HARMLESS, NAMES, choose_label, misspell

CLEAN = {
    "p_no_label": 0.0,
    "p_two_views": 0.0,
    "p_wrong_label": 0.0,
    "p_misspelt": 0.0,
    "p_lowercase": 0.0,
    "p_two_line": 0.0,
    "p_second_annotation": 0.0,
}


def drawn(view: str = "Kidney", n: int = 400, **changes: float) -> list:
    rng = np.random.default_rng(0)
    config = PhantomConfig(**{**CLEAN, **changes})
    return [choose_label(config, view, rng) for _ in range(n)]


def test_every_view_has_names_and_no_name_has_two_views() -> None:
    assert set(NAMES) == set(VIEWS)
    everything = [name for names in NAMES.values() for name in names]
    assert len(everything) == len(set(everything))
    assert not set(everything) & set(HARMLESS)


@pytest.mark.parametrize("view", VIEWS)
def test_a_clean_label_names_its_view(view: str) -> None:
    labels = drawn(view, 60)
    assert {label.text for label in labels} == set(NAMES[view])
    assert {label.view for label in labels} == {view}
    assert {label.second for label in labels} == {None}


@given(name=st.sampled_from([n for names in NAMES.values() for n in names]), seed=st.integers(0, 10_000))
def test_a_slip_is_one_edit(name: str, seed: int) -> None:
    typed = misspell(name, np.random.default_rng(seed))
    assert OSA.distance(name, typed) <= 1
    if max(map(len, name.replace("/", " ").split())) < 5:
        assert typed == name


def test_fates() -> None:
    assert {(label.text, label.view) for label in drawn(p_no_label=1.0)} == {(None, None)}
    assert {label.view for label in drawn(p_two_views=1.0)} == {None}
    assert all(label.text for label in drawn(p_two_views=1.0))
    assert "Kidney" not in {label.view for label in drawn(p_wrong_label=1.0)}
    assert all(label.text == label.text.lower() for label in drawn(p_lowercase=1.0))
    assert all(label.text.count("\n") == 1 for label in drawn(p_two_line=1.0))
    assert all(label.second in HARMLESS for label in drawn(p_second_annotation=1.0))


def test_shares_are_near_their_probabilities() -> None:
    labels = drawn(n=4000, p_no_label=0.1, p_wrong_label=0.05)
    assert np.mean([label.text is None for label in labels]) == pytest.approx(0.1, abs=0.02)
    typed = [label.view for label in labels if label.text]
    assert np.mean([view != "Kidney" for view in typed]) == pytest.approx(0.05, abs=0.015)


def test_independent_labels_are_uniform_whatever_the_view() -> None:
    rng = np.random.default_rng(1)
    config = PhantomConfig(label_independent=True, p_no_label=0.5, p_misspelt=0.5)
    labels = [choose_label(config, "Spine", rng) for _ in range(6000)]
    counts = Counter(label.view for label in labels)
    assert set(counts) == set(VIEWS)
    assert all(abs(count - 400) < 5 * 400**0.5 for count in counts.values())
    assert all(label.text in NAMES[label.view] for label in labels)
