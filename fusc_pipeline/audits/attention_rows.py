"""Does a view classifier look where text was? The figures made of attention maps, as rows of
`schemas.INPAINTING_AUDIT` and back. Training the classifiers and reading frames are elsewhere.

Two classifiers of one recipe are asked why they would call each held-out frame by its label: one trained on cleaned
frames, one on the same frames before. Three figures of each:

- the share of its attention inside the former text areas over their share of the fan (`SHARE`), the issue's measure;
- the same for those areas moved elsewhere in the fan (`CONTROL`): what lies in the middle of a fan draws attention by
  itself, which shifts `SHARE` away from 1 though nothing was left;
- the first over the second (`EXCESS`), about 1 where text left nothing behind. This is what is checked.

Both classifiers see what lies inside the fan only, and the same areas count for both: text outside the fan is black on
every cleaned frame, so nothing of it can be left, and on frames before cleaning it would draw attention that no area
here accounts for. The attention asked for is that of the true class, not of the predicted one: then both classifiers
are asked the same question of the same frame, also where one of them errs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusc_pipeline.evaluation.intervals import clustered_mean

ACCURACY, SHARE, CONTROL, EXCESS = "attention_accuracy", "attention", "attention_control", "attention_excess"
CLEANED, UNCLEANED = "cleaned", "uncleaned"
LEAST_TRAIN, LEAST_TEST, LEAST_SUBJECTS, LEAST_VIEWS = 100, 30, 5, 2


@dataclass(frozen=True)
class Attention:
    """What one classifier gave on N held-out frames. predicted: the views it names (N,); mass: share of the attention
    inside the text areas (N,), NaN without a map; area: the areas' share of the fan (N,), 0 without text over it;
    control: the mass in the areas moved elsewhere (N,), NaN where they fit nowhere else."""

    predicted: np.ndarray
    mass: np.ndarray
    area: np.ndarray
    control: np.ndarray


def too_few(train_views: Sequence[str], test_subjects: Sequence[str], with_text: Sequence[bool]) -> str | None:
    """Why nothing can be measured, or None. train_views: label of each frame to train on; test_subjects: subject of
    each held-out frame; with_text: whether text lay inside its fan."""
    people = {subject for subject, text in zip(test_subjects, with_text, strict=True) if text}
    frames, shown, views = len(train_views), sum(with_text), len(set(train_views))
    if frames >= LEAST_TRAIN and views >= LEAST_VIEWS and shown >= LEAST_TEST and len(people) >= LEAST_SUBJECTS:
        return None
    return (
        f"not measured: there are {frames} labelled frames of {views} views to train on, and {shown} held-out frames "
        f"of {len(people)} subjects had text over the picture; it needs {LEAST_TRAIN} frames of {LEAST_VIEWS} views, "
        f"and {LEAST_TEST} frames of {LEAST_SUBJECTS} subjects"
    )


def not_measured(reason: str) -> list[dict]:
    """The one row of an audit without this measure."""
    return [_row(EXCESS, CLEANED, 0, None, None, None, reason)]


def attention_rows(found: Mapping[str, Attention], views: Sequence[str], subjects: Sequence[str]) -> list[dict]:
    """Rows over all held-out frames and per view. found: by CLEANED and UNCLEANED; views, subjects: of the N frames.

    A classifier that is not above always naming the commonest view knows nothing, and its attention says nothing: its
    excess then has no value and says why.
    """
    names, people = np.asarray(views), np.asarray(subjects)
    rows = []
    for by, of in found.items():
        right = of.predicted == names
        share, low, high = clustered_mean(right.astype(float), people)
        rows.append(_row(ACCURACY, by, len(right), share, low, high, None, count=int(right.sum())))
        commonest = pd.Series(names).value_counts(normalize=True).iloc[0]
        knows = low > commonest
        for measure, row in _ratios(of, people, by).items():
            if measure == EXCESS and not knows:
                reason = (
                    f"not measured: the classifier names {share:.0%} of the held-out frames right ({low:.0%} to "
                    f"{high:.0%}), not surely more than always naming the commonest view, {commonest:.0%}; what it "
                    "looks at says nothing. Give it more labelled frames, or raise inpainting_audit.attention_epochs"
                )
                row = _row(EXCESS, by, row["n"], None, None, None, reason)
            rows.append(row)
    for view in sorted(set(views)):
        mine = names == view
        for by, of in found.items():
            part = Attention(of.predicted[mine], of.mass[mine], of.area[mine], of.control[mine])
            rows += _ratios(part, people[mine], f"{by}: {view}").values()
    return rows


def _ratios(of: Attention, people: np.ndarray, by: str) -> dict[str, dict]:
    from fusc_pipeline.audits.attention import AttentionShare, bootstrap_ratio

    moved = np.where(of.control > 0, of.area, 0)  # the areas' share of the fan, of frames that have a control
    pairs = {
        SHARE: AttentionShare(of.mass, of.area),
        CONTROL: AttentionShare(of.control, moved),
        EXCESS: AttentionShare(of.mass, of.control),
    }
    rows = {}
    for measure, share in pairs.items():
        known = share.known
        n, subjects = int(known.sum()), len(set(people[known]))
        if not n:
            rows[measure] = _row(measure, by, 0, None, None, None, "not measured: no frame had text over the picture")
            continue
        low, high = bootstrap_ratio(share, people) if subjects > 1 else (None, None)
        rows[measure] = _row(measure, by, n, share.ratio(), low, high, f"{subjects} subjects")
    return rows


def _row(
    measure: str,
    by: str,
    n: int,
    value: float | None,
    low: float | None,
    high: float | None,
    detail: str | None,
    count: int | None = None,
) -> dict:
    return dict(measure=measure, by=by, n=n, count=count, value=value, low=low, high=high, detail=detail)


def views_of(table: pd.DataFrame) -> list[str]:
    """The views that the table has attention rows of, in its order."""
    named = table.loc[table["measure"] == SHARE, "by"]
    return [by.removeprefix(f"{CLEANED}: ") for by in named if by.startswith(f"{CLEANED}: ")]
