"""From words on a frame to matches: joins neighbours into lines and lines into annotations, and knows settings columns.

Which view a text names is `lexicon`'s business.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.lexicon import Match, match_view

# Lines of a machine's settings or measurement column.
_SETTING = re.compile(
    r"^(GN|PWR|HAR|MI|TI[SBC]|FR|FREQ|DR|PERS|MAP|MECH|THI|HARM|SRI|CRI|DYN|GAIN|DEPTH|RES|PEN|2D)\b"
    r"|\d\s*(CM|MM|HZ|%|DB)|^[CPEMS]\d+\s*/|^C\s?\d+$|^[PEM]\d+$",
    re.IGNORECASE,
)
# Views whose name is also a preset's on some machine: aligned with a settings column, such a word is no label.
_PRESET_VIEWS = frozenset({"Abdomen", "Kidney", "Brain"})


@dataclass(frozen=True)
class _Line:
    """Words side by side: their indices, joint text and box."""

    members: tuple[int, ...]
    text: str
    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def height(self) -> int:
        return self.y1 - self.y0


def match_words(words: Sequence[Word]) -> list[Match | None]:
    """For each word, the match of the annotation it is part of, or None. Words of one annotation share one Match.

    Turned words name no view: nobody types a label sideways, and their neighbours are none of their line.
    A line's words are joined ("RT" "KIDNEY"), and so are two lines of one annotation ("CORD" over "INSERTION").
    """
    lines = [line for line in join_lines(words) if not words[line.members[0]].angle]
    found: list[Match | None] = [None] * len(words)
    for line in lines:
        joint = match_view(line.text)
        for index in line.members:
            found[index] = joint or match_view(words[index].text)
    for upper in lines:
        for lower in lines:
            if not _continues(upper, lower):
                continue
            joint = match_view(f"{upper.text} {lower.text}")
            # The longer reading decides when it is an alias in full ("ABDO" over "CORD INSERTION"), or when neither
            # line names a view by itself.
            alone = {match.view for i in upper.members + lower.members if (match := found[i]) is not None}
            if joint is not None and (not alone or alone == {joint.view} or joint.rule == "exact"):
                for index in upper.members + lower.members:
                    found[index] = joint
    presets = {index for line in _settings_column(lines) for index in line.members}
    return [
        None if match is not None and match.view in _PRESET_VIEWS and index in presets else match
        for index, match in enumerate(found)
    ]


def join_lines(words: Sequence[Word]) -> list[_Line]:
    """Words side by side at the same height, less than about a letter and a half apart, become one line."""
    lines: list[list[int]] = []
    for index in sorted(range(len(words)), key=lambda i: words[i].x0):
        word = words[index]
        for line in lines:
            if not word.angle and not words[line[-1]].angle and _beside(words[line[-1]], word):
                line.append(index)
                break
        else:
            lines.append([index])
    return [
        _Line(
            tuple(line),
            " ".join(words[i].text for i in line),
            min(words[i].x0 for i in line),
            min(words[i].y0 for i in line),
            max(words[i].x1 for i in line),
            max(words[i].y1 for i in line),
        )
        for line in lines
    ]


def _beside(left: Word, right: Word) -> bool:
    small, large = sorted((left.height, right.height))
    overlap = min(left.y1, right.y1) - max(left.y0, right.y0)
    gap = right.x0 - left.x1
    return large <= 2 * small and overlap >= 0.5 * small and -0.5 * large <= gap <= 1.2 * large


def _continues(upper: _Line, lower: _Line) -> bool:
    """Whether `lower` is the next line of the same annotation: close below, alike in height, aligned or overlapping."""
    if upper is lower:
        return False
    small, large = sorted((upper.height, lower.height))
    gap = lower.y0 - upper.y1
    overlap = min(upper.x1, lower.x1) - max(upper.x0, lower.x0)
    below = lower.y0 + lower.y1 > upper.y0 + upper.y1
    return below and large <= 1.7 * small and -0.6 * small <= gap <= 0.9 * small and overlap > 0


def _settings_column(lines: Sequence[_Line]) -> list[_Line]:
    """Lines aligned directly above or below one that reads like a setting."""
    settings = [line for line in lines if _SETTING.search(line.text)]
    return [line for line in lines if any(other is not line and _same_column(line, other) for other in settings)]


def _same_column(line: _Line, other: _Line) -> bool:
    small, large = sorted((line.height, other.height))
    gap = max(line.y0 - other.y1, other.y0 - line.y1)
    aligned = min(abs(line.x0 - other.x0), abs(line.x1 - other.x1)) <= 0.6 * large
    return aligned and large <= 1.5 * small and gap <= 0.8 * large
