"""Engines that read nothing but behave in ways worth testing; at module level, so that workers can import them."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.engine import Word


@dataclass
class FakeEngine:
    """Reads a frame's first pixel as its text. 255: the process dies, always; 254: it dies once per `folder`;
    253: it asks for three gigabytes."""

    folder: str | None = None
    name: str = "fake"
    fingerprint: str = "fake-1"

    def read(self, pixels: np.ndarray) -> list[Word]:
        value = int(pixels.flat[0])
        if value == 255:
            os._exit(9)
        if value == 254 and self.folder is not None:
            seen = Path(self.folder) / "seen"
            if not seen.exists():
                seen.touch()
                os._exit(9)
        if value == 253:
            np.ones(3_000_000_000, np.uint8)
        if value == 252:
            value = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return [Word(0, 0, 4, 4, str(value), 1.0)]


def refuses() -> FakeEngine:
    raise BadSetting("OCR weights: nothing there")


def crashes() -> FakeEngine:
    os._exit(3)


@dataclass
class BrightTextEngine:
    """Reads `text` on every frame that holds a white pixel, where the white is; nothing on the others."""

    text: str = "FEMUR"
    confidence: float = 0.9
    name: str = "bright"
    fingerprint: str = "bright-1"

    def read(self, pixels: np.ndarray) -> list[Word]:
        white = np.argwhere(pixels == 255)
        if not len(white):
            return []
        (y0, x0), (y1, x1) = white.min(0)[:2], white.max(0)[:2] + 1
        return [Word(int(x0), int(y0), int(x1), int(y1), self.text, self.confidence)]
