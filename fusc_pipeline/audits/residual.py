"""Words left on cleaned frames: which readings count as one, and how often there is one. Reading is the caller's."""

from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Bar:
    """A reading counts as a word from `letters` letters on, at a confidence above `confidence` (0 to 1)."""

    letters: int
    confidence: float

    def passes(self, text: str, confidence: float) -> bool:
        return confidence > self.confidence and sum(sign.isalpha() for sign in text) >= self.letters


# What may not be left, and a lower bar at which engines also "read" speckle: to look at, not to judge by.
WORD = Bar(3, 0.5)
FAINT = Bar(2, 0.3)


@dataclass(frozen=True)
class Found:
    """What one engine found on one cleaned frame: boxes of words and of fainter readings, in the frame's pixels.
    The strings are not kept: they may be names."""

    words: tuple[Box, ...]
    faint: tuple[Box, ...]


def found_on(readings: Sequence[tuple[Box, str, float]]) -> Found:
    """Sort one frame's readings (box, text, confidence) by the two bars; a word counts as faint too."""
    return Found(*(tuple(box for box, text, sure in readings if bar.passes(text, sure)) for bar in (WORD, FAINT)))
