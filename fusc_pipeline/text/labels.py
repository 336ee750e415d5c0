"""The decision for a frame: from its words and their matches to one view, or none and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.lexicon import Match, views_named

REASONS = ("labelled", "no_text", "no_match", "ambiguous", "low_confidence")


@dataclass(frozen=True)
class FrameLabel:
    """view: one of VIEWS or None; alias: the lexicon entry; score: match score times OCR confidence, 0 to 1;
    reason: one of REASONS, "labelled" exactly when there is a view."""

    view: str | None
    alias: str | None
    score: float | None
    reason: str


@dataclass(frozen=True)
class Reading:
    """One word as it is kept, without its text: the engine's confidence (0 to 1), how many views the word names, and
    the match (view, alias, score) of the annotation it is part of, or None for each."""

    confidence: float
    n_views: int
    view: str | None = None
    alias: str | None = None
    match_score: float | None = None


def readings_of(words: Sequence[Word], matches: Sequence[Match | None]) -> list[Reading]:
    """What is kept of words as an engine gave them and matches as `match_words` did. Raises ValueError where there are
    not as many of the one as of the other."""
    return [
        Reading(
            word.confidence,
            0 if word.angle else len(views_named(word.text)),
            *((match.view, match.alias, match.score) if match else ()),
        )
        for word, match in zip(words, matches, strict=True)
    ]


def label_readings(readings: Sequence[Reading], min_score: float = 0.2) -> FrameLabel:
    """One frame's pseudo-label from its readings.

    min_score: matches whose score times confidence is lower do not count (0.2: no wrong label in 480 rendered crops).
    Two different views, on one word or on two, → ambiguous.
    """
    if not readings:
        return FrameLabel(None, None, None, "no_text")
    best: dict[str, tuple[float, str | None]] = {}
    for reading in readings:
        if reading.view is not None:
            score = (reading.match_score or 0.0) * reading.confidence
            if reading.view not in best or score > best[reading.view][0]:
                best[reading.view] = (score, reading.alias)
    sure = {view: found for view, found in best.items() if found[0] >= min_score}
    torn = any(r.view is None and r.n_views > 1 and r.confidence >= min_score for r in readings)
    if len(sure) > 1 or torn:
        return FrameLabel(None, None, None, "ambiguous")
    if not sure:
        return FrameLabel(None, None, None, "low_confidence" if best else "no_match")
    ((view, (score, alias)),) = sure.items()
    return FrameLabel(view, alias, min(1.0, score), "labelled")
