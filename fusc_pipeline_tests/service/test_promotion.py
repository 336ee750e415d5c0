"""What becomes of a candidate: never against a person's word, never twice, never in doubt."""

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.service.comparison import Comparison
from fusc_pipeline.service.promotion import (
    KEPT,
    PROMOTED,
    ROLLED_BACK,
    UNCHANGED,
    Decision,
    Entry,
    Rule,
    before,
    chosen,
    decide,
    settled,
)

AUTO, ALWAYS, NEVER = Rule(), Rule(promote="always"), Rule(promote="never")


def compared(difference: float, spread: float = 0.01, subjects: int = 30) -> Comparison:
    draws = np.random.default_rng(0).normal(difference, spread, 1000)
    return Comparison("nmi", 0.5 + difference, 0.5, 200, subjects, 0, draws)


def first(version: str = "a") -> list[Entry]:
    return [Entry(PROMOTED, 1, version, 1)]


def test_the_first_model_is_promoted_whatever_the_rule():
    for rule in (AUTO, ALWAYS, NEVER):
        assert decide([], "a", None, rule) == Decision(PROMOTED, "the first model")


@pytest.mark.parametrize(
    ("difference", "spread", "action"),
    [(0.1, 0.02, PROMOTED), (0.0, 0.01, PROMOTED), (-0.1, 0.02, KEPT), (0.0, 0.05, KEPT), (0.06, 0.05, PROMOTED)],
)
def test_a_candidate_is_promoted_when_it_is_surely_not_worse(difference, spread, action):
    found = decide(first(), "b", compared(difference, spread), AUTO)
    assert found.action == action
    assert "NMI" in found.why and "200 test images of 30 subjects" in found.why


def test_too_little_to_compare_promotes_nothing_by_itself():
    for comparison in (None, compared(0.5, subjects=2)):
        found = decide(first(), "b", comparison, AUTO)
        assert found.action == KEPT and "too few to compare" in found.why
    assert decide(first(), "b", None, ALWAYS).action == PROMOTED
    assert decide(first(), "b", compared(0.5), NEVER).action == KEPT


def test_a_candidate_is_decided_upon_once():
    assert decide(first(), "a", None, AUTO).action == UNCHANGED
    kept = [*first(), Entry(KEPT, 2, "b", 1)]
    assert "kept out of service before" in settled(kept, "b", AUTO)
    assert settled(kept, "b", ALWAYS) is None  # told to
    assert settled(kept, "c", AUTO) is None


def test_what_was_rolled_back_from_never_returns_by_itself():
    history = [*first(), Entry(PROMOTED, 2, "b", 2), Entry(ROLLED_BACK, 1, "a", 1)]
    for rule in (AUTO, ALWAYS):
        assert decide(history, "b", compared(0.9), rule).action == UNCHANGED
    assert decide(history, "c", compared(0.9), AUTO).action == PROMOTED
    assert chosen(history, 2).action == ROLLED_BACK  # by name it does


def test_by_number():
    history = [*first(), Entry(KEPT, 2, "b", 1)]
    assert chosen(history, 2).action == PROMOTED
    assert chosen(history, 1) == Decision(UNCHANGED, "model 1 is in service already")
    with pytest.raises(BadSetting, match="there is no model 3; known: 1, 2"):
        chosen(history, 3)
    with pytest.raises(BadSetting, match="none yet; make one: fusc run"):
        chosen([], 1)


def test_rolling_back_twice_goes_back_twice():
    history = [Entry(PROMOTED, n, str(n), n) for n in (1, 2, 3)]
    history.insert(2, Entry(KEPT, 9, "k", 2))
    assert before(history) == 2
    history.append(Entry(ROLLED_BACK, 2, "2", 2))
    assert before(history) == 1
    history.append(Entry(ROLLED_BACK, 1, "1", 1))
    with pytest.raises(BadSetting, match="model 1 was the first in service"):
        before(history)
    with pytest.raises(BadSetting, match="no model is in service"):
        before([])


def test_a_wrong_rule_is_refused():
    with pytest.raises(BadSetting, match="choose one of auto, always, never"):
        Rule(promote="sometimes")
    with pytest.raises(BadSetting, match="tolerance"):
        Rule(tolerance=-1)
