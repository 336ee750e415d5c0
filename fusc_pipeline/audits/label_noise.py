"""From a person's answers to a noise rate: how many pseudo-labels are wrong, how many were missed, with intervals.

Works on rows of `schemas.LABEL_AUDIT`. A frame counts as wrong when at least one reviewer says so, as right when one
says so and none disagrees, and as undecided when nobody could tell; undecided frames are in no rate but in `unclear`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusc_pipeline.audits.label_sample import UNLABELLED
from fusc_pipeline.evaluation.intervals import clopper_pearson
from fusc_pipeline.evaluation.metrics import in_view_order

RIGHT, WRONG, UNCLEAR = "right", "wrong", "unclear"
ANSWERS = (RIGHT, WRONG, UNCLEAR)


@dataclass(frozen=True)
class Rate:
    """wrong of n judged frames; value, low and high: the estimated share of wrong ones among all frames of the stratum
    or of the corpus, 0 to 1 (value None: nothing was judged), at 95 %; unclear: frames nobody could decide."""

    n: int
    wrong: int
    value: float | None
    low: float
    high: float
    unclear: int = 0


@dataclass(frozen=True)
class Agreement:
    """Two reviewers on n frames both decided: the share they agree on, and Cohen's kappa (None: undefined, both gave
    one and the same answer throughout)."""

    reviewers: tuple[int, int]
    n: int
    share: float
    kappa: float | None


def verdicts(answers: pd.DataFrame) -> pd.DataFrame:
    """One row per frame: image_id, stratum, stratum_size and verdict, one of ANSWERS."""

    if answers.empty:
        return pd.DataFrame(columns=["image_id", "stratum", "stratum_size", "verdict"])

    def joint(given: pd.Series) -> str:
        return next((answer for answer in (WRONG, RIGHT) if (given == answer).any()), UNCLEAR)

    frames = answers.groupby("image_id", sort=True)
    found = frames[["stratum", "stratum_size"]].first()
    found["verdict"] = frames["answer"].agg(joint)
    return found.reset_index()


def by_view(answers: pd.DataFrame) -> dict[str, Rate]:
    """Each view's rate with its Clopper-Pearson interval: a handful of frames a view and rates near 0 are where the
    approximate ones fall short."""
    judged = verdicts(answers)
    judged = judged[judged["stratum"] != UNLABELLED]
    return {view: _plain(judged[judged["stratum"] == view]) for view in in_view_order(list(judged["stratum"].unique()))}


def overall(answers: pd.DataFrame) -> Rate:
    """The rate over all labelled frames: each view weighs as much as it has frames, however many of it were judged.
    The interval is `stratified_interval`'s."""
    judged = verdicts(answers)
    judged = judged[judged["stratum"] != UNLABELLED]
    unclear = int((judged["verdict"] == UNCLEAR).sum())
    decided = judged[judged["verdict"] != UNCLEAR]
    if decided.empty:
        return Rate(0, 0, None, 0.0, 1.0, unclear)
    strata = decided.assign(wrong=decided["verdict"] == WRONG).groupby("stratum")
    size, wrong = strata["stratum_size"].first().to_numpy(float), strata["wrong"].sum().to_numpy(float)
    value, low, high = stratified_interval(size, strata.size().to_numpy(float), wrong)
    return Rate(len(decided), int(wrong.sum()), value, low, high, unclear)


def stratified_interval(size: np.ndarray, judged: np.ndarray, wrong: np.ndarray) -> tuple[float, float, float]:
    """(share of wrong ones among all, low, high at 95 %) from strata (S,): frames there are, judged (1 or more), wrong.

    Clopper-Pearson at an effective sample size (Korn and Graubard 1998), the smaller of two: from the estimated
    variance, which sees strata that differ, and from the weights alone (Kish), which does not vanish where strata have
    no wrong label among the few judged. Frames are drawn without replacement, which is allowed for. In simulations
    of paper-like view shares (90 to 1,000 judged frames, 0.2 to 12 % noise, even or in some views only) it covers the
    truth in 92 to 100 % of the samples; combining Wilson intervals of the views covers 84 to 98 %.
    """
    weight, share = size / size.sum(), wrong / judged
    value = float(weight @ share)
    left = 1 - judged / size  # of the stratum still unseen: nothing is uncertain where all frames were judged
    evenly = float(np.sum(weight**2 * left / judged))
    spread = float(np.sum(weight**2 * left * share * (1 - share) / np.maximum(judged - 1, 1)))
    effective = [1 / evenly] if evenly > 0 else []
    if spread > 0:
        effective.append(value * (1 - value) / spread)
    if not effective:
        return value, value, value
    return value, *clopper_pearson(value * min(effective), min(effective))


def missed(answers: pd.DataFrame) -> Rate:
    """Among frames without a label, those whose text does name a view: "wrong" stands for a label that was missed."""
    judged = verdicts(answers)
    return _plain(judged[judged["stratum"] == UNLABELLED])


def _plain(judged: pd.DataFrame) -> Rate:
    decided = judged[judged["verdict"] != UNCLEAR]
    n, wrong = len(decided), int((decided["verdict"] == WRONG).sum())
    low, high = clopper_pearson(wrong, n)
    return Rate(n, wrong, wrong / n if n else None, low, high, len(judged) - n)


def agreement(answers: pd.DataFrame) -> list[Agreement]:
    """Each pair of reviewers on the frames both decided, on right against wrong (Cohen 1960)."""
    decided = answers[answers["answer"] != UNCLEAR]
    table = decided.pivot(index="image_id", columns="reviewer", values="answer")
    found = []
    for place, first in enumerate(table.columns):
        for second in table.columns[place + 1 :]:
            both = table[[first, second]].dropna()
            if len(both):
                found.append(_agreement((int(first), int(second)), both[first] == WRONG, both[second] == WRONG))
    return found


def _agreement(reviewers: tuple[int, int], first: pd.Series, second: pd.Series) -> Agreement:
    share = float((first == second).mean())
    chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    kappa = None if chance == 1 else float((share - chance) / (1 - chance))
    return Agreement(reviewers, len(first), share, kappa)


def wrong_frames(answers: pd.DataFrame) -> list[Mapping]:
    """Frames judged wrong by at least one reviewer: image_id, stratum, label_now, and per reviewer the answer and the
    view given."""
    frames = verdicts(answers)
    wrong = set(frames.loc[frames["verdict"] == WRONG, "image_id"])
    rows = []
    for image_id, given in answers[answers["image_id"].isin(wrong)].groupby("image_id"):
        first = given.iloc[0]
        said = [
            (int(row["reviewer"]), row["answer"], row["correct_view"] if pd.notna(row["correct_view"]) else None)
            for row in given.sort_values("reviewer").to_dict("records")
        ]
        rows.append({"image_id": image_id, "stratum": first["stratum"], "label_now": first["label_now"], "said": said})
    return sorted(rows, key=lambda row: (row["stratum"], row["image_id"]))
