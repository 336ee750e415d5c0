"""What an OCR engine is to this package: a name, a fingerprint, and `read(pixels) -> words`. No engine lives here."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Word:
    """One piece of text on a frame, as the engine found it (often several words of one line).

    x0, y0, x1, y1: box in pixels of the frame, left/top inclusive, right/bottom exclusive; text: the raw string, which
    may hold a patient's name until it is matched; confidence: the engine's own, 0 to 1; angle: degrees by which the
    line is turned counter-clockwise: 0, 90 (it runs upwards), 180 or 270 (downwards, as do letters one below another).
    """

    x0: int
    y0: int
    x1: int
    y1: int
    text: str
    confidence: float
    angle: int = 0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def upright(self) -> bool:
        """Whether the line runs from side to side, be it upside down."""
        return self.angle % 180 == 0

    @property
    def thickness(self) -> int:
        """How tall the line's letters are, in pixels: the side of the box across the line."""
        return self.height if self.upright else self.width


@runtime_checkable
class OcrEngine(Protocol):
    """Reads text. `fingerprint` covers engine, weights and settings: equal fingerprints read equal frames equally."""

    name: str
    fingerprint: str

    def read(self, pixels: np.ndarray) -> list[Word]:
        """Words on one frame, uint8 (H, W) or RGB (H, W, 3), in reading order; an empty list when there are none."""
        ...
