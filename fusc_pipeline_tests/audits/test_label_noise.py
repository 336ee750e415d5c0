"""Noise rates: against slow hand counts, against scikit-learn's kappa, and their coverage in a simulation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from fusc_pipeline.audits.label_noise import (
    agreement,
    by_view,
    missed,
    overall,
    stratified_interval,
    verdicts,
    wrong_frames,
)
from fusc_pipeline.audits.label_sample import UNLABELLED
from fusc_pipeline.base.schemas import LABEL_AUDIT
from fusc_pipeline.base.views import PAPER_VIEW_SHARES
from fusc_pipeline.evaluation.intervals import clopper_pearson
from fusc_pipeline.report.audit_sections import label_section


def answers(strata, reviewer=1):
    """Rows of LABEL_AUDIT. strata: name → (frames there are, "rrwu": the answers given)."""
    words = {"r": "right", "w": "wrong", "u": "unclear"}
    rows = []
    for name, (size, given) in strata.items():
        for sign in given:
            label = None if name == UNLABELLED else name
            rows.append((f"{len(rows):064x}", "b", "0" * 12, reviewer, name, size, len(given), label, words[sign]))
    table = pd.DataFrame(rows, columns=LABEL_AUDIT.names[:9])
    return table.assign(correct_view=None, label_now=table["view"])


def test_each_view_weighs_as_much_as_it_has_frames():
    table = answers({"Spine": (900, "rrrr" * 5), "Feet": (100, "wrrr"), UNLABELLED: (40, "wrrrru")})
    rate = overall(table)
    assert (rate.n, rate.wrong, rate.unclear) == (24, 1, 0)
    assert rate.value == pytest.approx(0.9 * 0 + 0.1 * 0.25)
    assert rate.low < rate.value < rate.high
    assert by_view(table)["Feet"].value == 0.25 and by_view(table)["Spine"].wrong == 0
    assert (by_view(table)["Feet"].low, by_view(table)["Feet"].high) == clopper_pearson(1, 4)
    assert (missed(table).n, missed(table).wrong, missed(table).unclear) == (5, 1, 1)


def test_one_view_at_random_is_the_exact_interval_of_the_share():
    table = answers({"Spine": (10**9, "r" * 57 + "www")})
    rate = overall(table)
    assert (rate.low, rate.high) == pytest.approx(clopper_pearson(3, 60), rel=0.03)


def test_all_frames_judged_leave_nothing_uncertain():
    rate = overall(answers({"Spine": (4, "rrrw"), "Feet": (2, "rr")}))
    assert rate.value == rate.low == rate.high == pytest.approx(1 / 6)


def test_undecided_frames_are_in_no_rate():
    table = answers({"Spine": (50, "rruu"), "Feet": (50, "uu")})
    assert (overall(table).n, overall(table).unclear, overall(table).value) == (2, 4, 0.0)
    assert by_view(table)["Feet"].value is None
    nothing = overall(answers({"Spine": (50, "uu")}))
    assert nothing.value is None and (nothing.low, nothing.high) == (0.0, 1.0)
    assert overall(table.iloc[:0]).n == 0 and label_section(table.iloc[:0]) is None


def test_two_reviewers_one_wrong_is_wrong_and_kappa_is_cohens():
    rng = np.random.default_rng(0)
    signs = ["".join(rng.choice(list("rwu"), 60, p=[0.6, 0.3, 0.1])) for _ in range(2)]
    tables = [answers({"Spine": (500, given)}, reviewer=i + 1) for i, given in enumerate(signs)]
    table = pd.concat(tables)
    both = [(a, b) for a, b in zip(*signs, strict=True) if "u" not in (a, b)]
    (pair,) = agreement(table)
    assert pair.n == len(both) and pair.share == pytest.approx(np.mean([a == b for a, b in both]))
    assert pair.kappa == pytest.approx(cohen_kappa_score(*zip(*both, strict=True)))
    expected = [
        "wrong" if "w" in (a, b) else "right" if "r" in (a, b) else "unclear" for a, b in zip(*signs, strict=True)
    ]
    assert verdicts(table)["verdict"].tolist() == expected
    (same,) = agreement(pd.concat([answers({"Spine": (9, "rr")}, 1), answers({"Spine": (9, "rr")}, 2)]))
    assert same.share == 1 and same.kappa is None


def test_wrong_frames_say_what_was_said():
    table = answers({"Spine": (50, "rw")})
    table.loc[1, ["correct_view", "label_now"]] = ["Femur", "Femur"]
    (frame,) = wrong_frames(table)
    assert frame["said"] == [(1, "wrong", "Femur")] and frame["stratum"] == "Spine"
    section = label_section(table)
    assert section.changed == 1 and section.wrong[0][1] == "should be Femur"


@pytest.mark.parametrize("where", ["all", "common", "rare"])
@pytest.mark.parametrize(("size", "noise"), [(570, 0.005), (570, 0.02), (2000, 0.1), (5000, 0.02)])
def test_the_interval_covers_the_truth(size, noise, where):
    """Finite corpora of paper-like shares, a tenth judged, five of each view at the least; the truth is counted."""
    rng = np.random.default_rng(5)
    sizes = np.maximum(1, np.round(size * np.array(list(PAPER_VIEW_SHARES.values())))).astype(int)
    there = {"all": sizes > 0, "common": sizes >= np.median(sizes), "rare": sizes < np.median(sizes)}[where]
    wrong = np.where(there, np.round(noise * sizes), 0).astype(int)
    judged = np.minimum(sizes, np.maximum(5, np.ceil(0.1 * sizes))).astype(int)
    covered = []
    for found in rng.hypergeometric(wrong, sizes - wrong, judged, size=(300, len(sizes))):
        _, low, high = stratified_interval(sizes.astype(float), judged.astype(float), found.astype(float))
        covered.append(low <= wrong.sum() / sizes.sum() + 1e-12 and wrong.sum() / sizes.sum() <= high + 1e-12)
    assert np.mean(covered) >= 0.93
