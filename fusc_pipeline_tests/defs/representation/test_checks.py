"""A collapsed encoder fails its check with a sentence that says what to change."""

from types import SimpleNamespace

import pytest

from fusc_pipeline.defs.engine.check import ERROR, Check, CheckedVersion, Finding
from fusc_pipeline.defs.representation.checks import dino_did_not_collapse, simclr_did_not_collapse

GOOD = {"teacher_entropy_share": 0.6, "kl": 0.5, "effective_rank": 40.0}


def told(check: Check, metadata: dict) -> Finding:
    """What the check says of an encoder with this metadata."""
    return check.judge(CheckedVersion(None, SimpleNamespace(metadata=metadata)))


def test_a_spread_encoder_passes():
    assert told(dino_did_not_collapse, GOOD).passed
    assert told(simclr_did_not_collapse, GOOD).passed


@pytest.mark.parametrize(
    "change, words",
    [
        ({"teacher_entropy_share": 0.995}, "says nothing: lower teacher_temperature"),
        ({"kl": 1e-5}, "on one answer: raise center_momentum or out_dim"),
        ({"effective_rank": 1.7}, "effective rank is 1.7: it says the same of every image; train longer, or lower lr"),
    ],
)
def test_each_collapse_of_dino_is_told_with_its_remedy(change, words):
    result = told(dino_did_not_collapse, GOOD | change)
    assert not result.passed and result.severity is ERROR
    assert words in result.description and "settings of dino_encoder" in result.description


def test_a_flat_simclr_embedding_warns():
    result = told(simclr_did_not_collapse, {"effective_rank": 2.0})
    assert not result.passed and "lower simclr_encoder.lr, or raise batch_size" in result.description


@pytest.mark.parametrize("check", [dino_did_not_collapse, simclr_did_not_collapse])
def test_of_a_frozen_checkpoint_only_the_rank_is_asked(check):
    assert told(check, {"trained": "no, as given", "effective_rank": 30.0}).passed
    result = told(check, {"trained": "no, as given", "effective_rank": 2.0})
    assert not result.passed and "encoder.weights" in result.description and "frozen: false" in result.description
