"""What the report says of where a view classifier looks. Words and rows, no HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.audits import removal_audit
from fusc_pipeline.audits.attention_rows import (
    ACCURACY,
    CLEANED,
    CONTROL,
    EXCESS,
    SHARE,
    UNCLEANED,
    views_of,
)
from fusc_pipeline.base.words import counted
from fusc_pipeline.evaluation.tables import percent

_TRAINED_ON = {CLEANED: "cleaned frames", UNCLEANED: "the same frames before cleaning"}


@dataclass(frozen=True)
class MapFigure:
    """A cleaned frame under the heat maps of both classifiers: JPEG or PNG bytes, its view, what is said of it."""

    picture: bytes
    view: str
    why: str


@dataclass(frozen=True)
class AttentionSection:
    """text: the sentence; good: None when it says nothing. classifiers: rows (trained on, views right, attention, in
    like areas elsewhere, first over second); views: rows (view, frames, attention cleaned, before, over elsewhere)."""

    text: str
    good: bool | None
    classifiers: Sequence[tuple[str, ...]]
    views: Sequence[tuple[str, ...]]
    pictures: Sequence[MapFigure]


def attention_section(
    table: pd.DataFrame, tolerated: float, pictures: Sequence[MapFigure] = ()
) -> AttentionSection | None:
    """From the rows of `schemas.INPAINTING_AUDIT`; None when it has none on attention. tolerated: largest EXCESS."""

    def ratio(measure: str, by: str) -> str:
        found = removal_audit.figure(table, measure, by)
        return "–" if found is None else _ratio(found)

    cleaned = removal_audit.figure(table, EXCESS, CLEANED)
    if cleaned is None:
        return None
    text, good = _verdict(cleaned, removal_audit.figure(table, EXCESS, UNCLEANED), tolerated)
    classifiers = []
    for by, words in _TRAINED_ON.items():
        accuracy = removal_audit.figure(table, ACCURACY, by)
        if accuracy is not None:
            right = f"{percent(accuracy.value)} ({percent(accuracy.low)} to {percent(accuracy.high)})"
            classifiers.append((words, right, *(ratio(measure, by) for measure in (SHARE, CONTROL, EXCESS))))
    views = []
    for view in views_of(table):
        mine = f"{CLEANED}: {view}"
        found = removal_audit.figure(table, SHARE, mine)
        n = found.n if found else 0
        views.append((view, f"{n:,}", ratio(SHARE, mine), ratio(SHARE, f"{UNCLEANED}: {view}"), ratio(EXCESS, mine)))
    return AttentionSection(text, good, classifiers, views, pictures)


def _verdict(
    cleaned: removal_audit.Figure, before: removal_audit.Figure | None, tolerated: float
) -> tuple[str, bool | None]:
    if cleaned.value is None or cleaned.low is None:
        return f"Whether a network looks at where text was, was {cleaned.detail}.", None
    found = f"{_ratio(cleaned)} times as much attention as like places elsewhere in the fan"
    on = f"on {counted(cleaned.n, 'held-out frame')}"
    if cleaned.low > tolerated:
        return (
            f"A network that learned the views from cleaned frames looks at where text was: such places draw {found}, "
            f"{on}. More than {tolerated:.1f} is not tolerated.",
            False,
        )
    text = (
        f"A network that learned the views from cleaned frames does not look at where text was more than is tolerated "
        f"({tolerated:.1f} times): such places draw {found}, {on}."
    )
    if before is None or before.low is None or before.low <= 1:
        drawn = "" if before is None or before.value is None else f" ({_ratio(before)} times)"
        weak = (
            f" This says little here: the same network does not look at the text itself either when it learns from "
            f"frames before cleaning{drawn}. With so few or so small frames it tells views by other things."
        )
        return text + weak, None
    return f"{text} Before cleaning it is {_ratio(before)} times.", True


def _ratio(found: removal_audit.Figure) -> str:
    """ "1.06 (0.94 to 1.17)"."""
    if found.value is None:
        return "–"
    return f"{found.value:.2f}" + ("" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})")
