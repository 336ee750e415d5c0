"""What the inpainting audit found, as rows of `schemas.INPAINTING_AUDIT` and back as what the report says.

Reading frames, cutting windows and training the probe are done elsewhere; here they are counted and put in order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from fusc_pipeline.audits.residual import Found
from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.evaluation.intervals import wilson

RESIDUAL, FAINT, ACCURACY, LEAK, POWER = "residual_text", "faint_text", "probe_accuracy", "leak", "probe_power"
EITHER = "either"
# What the leak probe is shown: the place of a label on the cleaned frame, a place without one, the first uncleaned.
FORMER, CONTROL, UNCLEANED = "former_text", "control", "uncleaned"
PROBE, UNCLEANED_PROBE = f"{FORMER} - {CONTROL}", f"{UNCLEANED} - {CONTROL}"


@dataclass(frozen=True)
class Share:
    """Frames judged right: how many, their share (0 to 1) or a difference of shares, and its 95 % interval."""

    count: int | None
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Leak:
    """n frames of `subjects` subjects. accuracy: by FORMER, CONTROL, UNCLEANED; leak: former minus control; power:
    un-cleaned minus control. Intervals are over subjects, paired by frame."""

    n: int
    subjects: int
    accuracy: Mapping[str, Share]
    leak: Share
    power: Share


@dataclass(frozen=True)
class Worst:
    """A frame to look at: its image_id, why, and the boxes of what was read on it (empty: none)."""

    image_id: str
    why: str
    left: tuple[tuple[int, int, int, int], ...]


def residual_rows(found: Mapping[str, Mapping[str, Found]]) -> list[dict]:
    """Rows on text left, by engine and by either of them. found: engine → image_id → what it read; every engine has
    read the same frames."""
    rows = []
    for measure, field in ((RESIDUAL, "words"), (FAINT, "faint")):
        hit = {engine: {i for i, frame in frames.items() if getattr(frame, field)} for engine, frames in found.items()}
        n = max((len(frames) for frames in found.values()), default=0)
        for by, ids in (*hit.items(), (EITHER, set().union(*hit.values()))):
            low, high = wilson(len(ids), n)
            share = len(ids) / n if n else None
            rows.append(_row(measure, by, n, len(ids), share, low, high, None if n else "not measured: no frame"))
    return rows


def leak_rows(leak: Leak | None, reason: str | None) -> list[dict]:
    """Rows on the leak probe, or one row with the reason why there is none (leak None)."""
    if leak is None:
        return [_row(LEAK, PROBE, 0, None, None, None, None, reason)]
    rows = [_row(ACCURACY, by, leak.n, s.count, s.value, s.low, s.high, None) for by, s in leak.accuracy.items()]
    for measure, by, share in ((LEAK, PROBE, leak.leak), (POWER, UNCLEANED_PROBE, leak.power)):
        of = f"{leak.subjects} subjects"
        rows.append(_row(measure, by, leak.n, None, share.value, share.low, share.high, of))
    return rows


def _row(
    measure: str,
    by: str,
    n: int,
    count: int | None,
    value: float | None,
    low: float | None,
    high: float | None,
    detail: str | None,
) -> dict:
    return dict(measure=measure, by=by, n=n, count=count, value=value, low=low, high=high, detail=detail)


def worst_frames(found: Mapping[str, Mapping[str, Found]], ink_share: Mapping[str, float], most: int) -> list[Worst]:
    """Up to `most` frames of the sample: those with words left (most words first), then the most repainted ones."""
    left: dict[str, list] = {}
    readers: dict[str, list[str]] = {}
    for engine, frames in found.items():
        for image_id, frame in frames.items():
            if frame.words:
                left.setdefault(image_id, []).extend(frame.words)
                readers.setdefault(image_id, []).append(engine)
    worst = [
        Worst(image_id, f"text left, read by {' and '.join(readers[image_id])}", tuple(boxes))
        for image_id, boxes in sorted(left.items(), key=lambda item: (-len(item[1]), item[0]))
    ]
    for image_id, share in sorted(ink_share.items(), key=lambda item: (-item[1], item[0])):
        if image_id not in left:
            worst.append(Worst(image_id, f"{100 * share:.1f} % of the picture repainted", ()))
    return worst[:most]


@dataclass(frozen=True)
class Figure:
    """One row of the table for reading: n, count, and shares or differences of shares (None: not measured)."""

    n: int
    count: int | None
    value: float | None
    low: float | None
    high: float | None
    detail: str | None

    @property
    def interval(self) -> "Interval | None":
        """The value with its 95 % interval, None where it was not measured."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return Interval(self.value, self.low, self.high)


class Interval(NamedTuple):
    """A share, or a difference of shares, and its 95 % interval."""

    value: float
    low: float
    high: float


def figure(table: pd.DataFrame, measure: str, by: str) -> Figure | None:
    """The row of a measure, or None when the table has none."""
    rows = table[(table["measure"] == measure) & (table["by"] == by)]
    if rows.empty:
        return None
    row: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in rows.iloc[0].items()}
    count = None if row["count"] is None else int(row["count"])
    value, low, high = (None if row[name] is None else float(row[name]) for name in ("value", "low", "high"))
    return Figure(int(row["n"]), count, value, low, high, row["detail"])


def required(table: pd.DataFrame, measure: str, by: str) -> Figure:
    """As `figure`, of a measure that every audit has. Raises BadInput where the table lacks it."""
    found = figure(table, measure, by)
    if found is None:
        raise BadInput(f"inpainting_audit has no row {measure} of {by}; materialise it again")
    return found


def engines_of(table: pd.DataFrame) -> Sequence[str]:
    """Names of the engines that read the sample again."""
    return [by for by in table.loc[table["measure"] == RESIDUAL, "by"] if by != EITHER]
