"""Burnt-in words that OCR is known to miss: turned, dark, faint, letters one below another; other words in every frame.

They are drawn after everything else, from a random stream of their own: without them a phantom keeps its pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fusc_pipeline.phantom.study import GIVEN_NAMES, SURNAMES, font

KINDS = ("turned_90", "turned_180", "turned_270", "stacked", "dark", "dark_turned", "outlined", "faint", "bright")
_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono-Bold")
# Grey levels between the tissue and dark or faint letters: what a person reads at a glance.
_DARK_GROUND, _FAINT_STEP = 70, (60, 90)
_TRIES = 60


@dataclass(frozen=True)
class HardWord:
    """kind: one of KINDS; text: what is written; box: (x0, y0, x1, y1) pixels, right and bottom exclusive."""

    kind: str
    text: str
    box: tuple[int, int, int, int]


def draw_hard_words(
    screen: np.ndarray, ink: np.ndarray, fan: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[HardWord, ...]]:
    """(screen (H, W, 3) uint8, ink (H, W) bool, what was written): one or two words more inside the fan, clear of the
    ink that is there. A word that finds no place is left out."""
    screen, ink = screen.copy(), ink.copy()
    written = []
    for _ in range(int(rng.integers(1, 3))):
        kind = str(rng.choice(KINDS))
        text = _text(rng)
        strokes = _strokes(text, kind, screen.shape[0], rng)
        corner = _place(strokes.shape, kind, screen, ink, fan, rng)
        if corner is None and kind.startswith("dark"):
            # No tissue is bright enough: dark letters with a rim are read anywhere.
            kind = "outlined"
            corner = _place(strokes.shape, kind, screen, ink, fan, rng)
        if corner is None:
            continue
        y, x = corner
        here = np.s_[y : y + strokes.shape[0], x : x + strokes.shape[1]]
        before = screen[here].copy()
        patch = before.astype(np.float32)
        level = _level(kind, before, rng)
        if kind == "outlined":
            patch = _blend(patch, cv2.dilate(strokes, np.ones((5, 5), np.uint8)), 255.0)
        screen[here] = np.rint(_blend(patch, strokes, level)).astype(np.uint8)
        ink[here] |= (screen[here] != before).any(2)
        written.append(HardWord(kind, text, (x, y, x + strokes.shape[1], y + strokes.shape[0])))
    return screen, ink & fan, tuple(written)


def _text(rng: np.random.Generator) -> str:
    """A name, perhaps with a year or a number: nobody's."""
    name = f"{rng.choice(SURNAMES)} {rng.choice(GIVEN_NAMES)}"
    kind = rng.integers(4)
    if kind == 0:
        return name.upper()
    if kind == 1:
        return f"{name.upper()} {rng.integers(1960, 2005)}"
    if kind == 2:
        return f"{str(rng.choice(SURNAMES)).upper()} {rng.integers(1000, 9999)}"
    return name


def _strokes(text: str, kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """(h, w) uint8: how much ink each pixel of the word gets, turned as its kind says, with a margin for a rim."""
    face = font(str(rng.choice(_FACES)), max(14, round(int(rng.integers(16, 27)) * rows / 600)))
    if kind == "stacked":
        text = "\n".join(text.split()[0].upper()[:7])
    spacing = int(rng.integers(2, 6))
    left, top, right, bottom = (
        int(v) for v in ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, face, spacing=spacing)
    )
    image = Image.new("L", (right - left + 6, bottom - top + 6))
    ImageDraw.Draw(image).multiline_text((3 - left, 3 - top), text, 255, face, spacing=spacing, align="center")
    strokes = np.asarray(image)
    turns = {"turned_90": 1, "turned_180": 2, "turned_270": 3, "dark_turned": int(rng.choice((1, 3)))}
    return np.ascontiguousarray(np.rot90(strokes, turns.get(kind, 0)))


def _place(
    size: tuple[int, ...], kind: str, screen: np.ndarray, ink: np.ndarray, fan: np.ndarray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Top left corner (y, x) of a place inside the fan without ink, bright enough for dark letters, or None."""
    taken = cv2.dilate(ink.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool) | ~fan
    for _ in range(_TRIES):
        y, x = (int(rng.integers(0, max(1, side - length))) for side, length in zip(fan.shape, size, strict=True))
        here = np.s_[y : y + size[0], x : x + size[1]]
        if fan[here].shape != size or taken[here].any():
            continue
        if not kind.startswith("dark") or np.percentile(cv2.blur(screen[here], (15, 15)), 10) >= _DARK_GROUND:
            return y, x
    return None


def _level(kind: str, ground: np.ndarray, rng: np.random.Generator) -> float:
    """The letters' grey level."""
    if kind.startswith("dark") or kind == "outlined":
        return float(rng.integers(0, 12))
    if kind == "faint":
        return min(255.0, float(ground.mean()) + float(rng.integers(*_FAINT_STEP)))
    return float(rng.integers(225, 256))


def _blend(patch: np.ndarray, strokes: np.ndarray, level: float) -> np.ndarray:
    share = strokes[:, :, None].astype(np.float32) / 255
    return patch * (1 - share) + level * share
