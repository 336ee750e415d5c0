"""What the report says of the two audits: was the text removed, and are the labels right. Words and rows, no HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.audits import label_noise, removal_audit
from fusc_pipeline.audits.removal_audit import CONTROL, FORMER, UNCLEANED
from fusc_pipeline.base.words import counted
from fusc_pipeline.evaluation.tables import percent
from fusc_pipeline.report.attention_section import AttentionSection

_READERS = {"easyocr": "EasyOCR", "rapidocr": "RapidOCR", removal_audit.EITHER: "Either of them"}
_SHOWN = {
    FORMER: "where the label stood, cleaned",
    CONTROL: "elsewhere on the same frames",
    UNCLEANED: "where the label stands, not cleaned",
}


@dataclass(frozen=True)
class AuditPicture:
    """A cleaned frame of the audit's sample: PNG or JPEG bytes, and why it is shown."""

    picture: bytes
    why: str


@dataclass(frozen=True)
class RemovalSection:
    """text: the sentence on words left; readers: rows (engine, frames, with a word, share, with faint signs);
    leak: the sentence on the probe, good None when it says nothing; probe: rows (what it saw, right, share);
    attention: where a view classifier looks, or None."""

    text: str
    clean: bool
    readers: Sequence[tuple[str, ...]]
    leak: str
    leak_good: bool | None
    probe: Sequence[tuple[str, ...]]
    pictures: Sequence[AuditPicture]
    attention: AttentionSection | None = None


def removal_section(
    table: pd.DataFrame, pictures: Sequence[AuditPicture], attention: AttentionSection | None = None
) -> RemovalSection:
    """From the rows of `schemas.INPAINTING_AUDIT`."""
    either = removal_audit.required(table, removal_audit.RESIDUAL, removal_audit.EITHER)
    readers = []
    for by in (*removal_audit.engines_of(table), removal_audit.EITHER):
        word = removal_audit.required(table, removal_audit.RESIDUAL, by)
        faint = removal_audit.required(table, removal_audit.FAINT, by)
        readers.append((_READERS.get(by, by), f"{word.n:,}", f"{word.count:,}", _span(word), f"{faint.count:,}"))
    if either.count:
        text = f"On {either.count} of {counted(either.n, 'cleaned frame')} a word can still be read: {_span(either)} %."
    else:
        text = (
            f"Two reading programs looked at {counted(either.n, 'cleaned frame')} drawn at random and found no word on "
            f"any: with 95 % confidence fewer than {percent(either.high)} % of all frames hold one they could read."
        )
    probe = [
        (words, f"{found.count:,} of {found.n:,}", _span(found))
        for by, words in _SHOWN.items()
        if (found := removal_audit.figure(table, removal_audit.ACCURACY, by)) is not None
    ]
    leak, good = _leak(table)
    return RemovalSection(text, not either.count, readers, leak, good, probe, pictures, attention)


def _leak(table: pd.DataFrame) -> tuple[str, bool | None]:
    found = removal_audit.required(table, removal_audit.LEAK, removal_audit.PROBE)
    power = removal_audit.figure(table, removal_audit.POWER, removal_audit.UNCLEANED_PROBE)
    leak, before = found.interval, power.interval if power else None
    if leak is None or before is None:
        return f"Whether repainted places still give the label away was {found.detail}.", None
    difference = f"{_points(leak.value)} ({_points(leak.low)} to {_points(leak.high)})"
    if before.low <= 0:
        return (
            f"The probe is too weak here to say anything: it does not even read labels that were not removed. It found "
            f"a difference of {difference} percentage points.",
            None,
        )
    if leak.low > 0:
        return (
            f"The repainted places give the label away: from them a small network tells the view more often than from "
            f"elsewhere on the same frames, by {difference} percentage points.",
            False,
        )
    return (
        f"The repainted places do not give the label away: from them a small network tells the view no more often than "
        f"from elsewhere on the same frames, the difference being {difference} percentage points. Before cleaning it "
        f"is {_points(before.value)}.",
        True,
    )


@dataclass(frozen=True)
class LabelSection:
    """text: the sentence on the noise rate; views: rows (view, judged, wrong, share); missed, agreement: sentences or
    None; wrong: rows (view, what reviewers said, image code); changed: labels that differ from those judged."""

    text: str
    views: Sequence[tuple[str, ...]]
    missed: str | None
    agreement: Sequence[str]
    wrong: Sequence[tuple[str, str, str]]
    changed: int


def label_section(answers: pd.DataFrame) -> LabelSection | None:
    """From the rows of `schemas.LABEL_AUDIT`; None when nothing was answered."""
    if answers.empty:
        return None
    rate, missed = label_noise.overall(answers), label_noise.missed(answers)
    by_view = label_noise.by_view(answers)
    views = [(view, str(r.n), str(r.wrong), _span(r), str(r.unclear)) for view, r in by_view.items()]
    frames = answers.drop_duplicates("image_id")
    labelled = frames[frames["view"].notna()]
    return LabelSection(
        text=_noise(rate),
        views=views,
        missed=_missed(missed),
        agreement=[_agreed(pair) for pair in label_noise.agreement(answers)],
        wrong=[(row["stratum"], _said(row["said"]), row["image_id"][:12]) for row in label_noise.wrong_frames(answers)],
        changed=int((labelled["view"] != labelled["label_now"]).sum()),
    )


def _noise(rate: label_noise.Rate) -> str:
    undecided = f" {counted(rate.unclear, 'frame')} could not be decided and are in no figure." if rate.unclear else ""
    if rate.value is None:
        return f"No label was decided yet, so there is no noise rate.{undecided}"
    return (
        f"Of {counted(rate.n, 'label')} drawn at random and judged by a person {rate.wrong} "
        f"{'is' if rate.wrong == 1 else 'are'} wrong. Weighed by how common each view is, {_span(rate)} % of all "
        f"labels are wrong; the published study reports under 2 %.{undecided}"
    )


def _missed(rate: label_noise.Rate) -> str | None:
    if rate.value is None:
        return None
    return (
        f"Of {counted(rate.n, 'judged frame')} without a label {rate.wrong} {'names' if rate.wrong == 1 else 'name'} a "
        f"view after all: {_span(rate)} % of such frames. Text that was not found at all cannot be counted here."
    )


def _agreed(pair: label_noise.Agreement) -> str:
    kappa = "" if pair.kappa is None else f", Cohen's kappa {pair.kappa:.2f}"
    first, second = pair.reviewers
    return (
        f"Reviewers {first} and {second} agree on {percent(pair.share)} % of {counted(pair.n, 'frame')} both decided"
        f"{kappa}. A label counts as wrong when one of them says so."
    )


def _said(said: Sequence[tuple[int, str, str | None]]) -> str:
    alone = len(said) == 1
    parts = []
    for reviewer, answer, view in said:
        words = f"should be {view}" if view else "names none of the fifteen views" if answer == "wrong" else answer
        parts.append(words if alone else f"reviewer {reviewer}: {words}")
    return "; ".join(parts)


def _span(share) -> str:
    """ "1.2 (0.4 to 3.1)", in per cent."""
    if share.value is None:
        return "–"
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")
