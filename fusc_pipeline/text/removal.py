"""Text-free frames: everything outside the fan is zero, ink inside is repainted so that no trace of the word is left.

Plain inpainting leaves a smooth patch of the word's length, from which a small network reads the label back (20 %,
chance 6.7 %). Here the smooth part comes from inpainting (Telea), the speckle from a similar place of the same frame,
and decoys are repainted the same way where nothing was written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.ink import find_ink
from fusc_pipeline.text.speckle import RIM, refill

# Anti-aliased and compressed edges of ink reach this far, in pixels.
_EDGE = 2


@dataclass(frozen=True)
class Removed:
    """image: (H, W) uint8 grey, zero outside the fan, free of ink; ink: (H, W) bool, pixels repainted because ink was
    found there; decoys: (H, W) bool, pixels repainted where none was; chroma_share: share of the fan's pixels that are
    coloured, 0 to 1: above a few percent the frame holds colour Doppler, which is left in as grey."""

    image: np.ndarray
    ink: np.ndarray
    decoys: np.ndarray
    chroma_share: float


def remove_text(
    pixels: np.ndarray,
    fan_mask: np.ndarray,
    words: Sequence[Word],
    seed: int,
    decoys: int = 2,
    blocks: Sequence[Word] = (),
) -> Removed:
    """A frame without overlay. pixels: uint8 (H, W) or RGB (H, W, 3); fan_mask: (H, W) bool; words: what an engine read
    on it; seed: decides decoys and texture sources (equal seed, equal result); decoys: how many areas without text are
    repainted too; blocks: words whose whole boxes are repainted. Raises ValueError on unequal shapes."""
    if fan_mask.shape != pixels.shape[:2]:
        raise ValueError(f"fan mask {fan_mask.shape} does not fit the frame {pixels.shape[:2]}")
    fan = fan_mask.astype(bool)
    rng = np.random.default_rng(seed)
    grey, chroma = grey_and_chroma(pixels)
    found = find_ink(grey, chroma, fan, words, blocks)
    ink = cv2.dilate(found.mask.astype(np.uint8), _square(2 * (_EDGE + RIM) + 1)).astype(bool)
    ink &= fan
    blank = _decoys(grey, fan, ink, decoys, rng) & ~ink
    image = refill(grey, ink | blank, fan, rng)
    image[~fan] = 0
    return Removed(image, ink, blank, found.chroma_share)


def _decoys(grey: np.ndarray, fan: np.ndarray, ink: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of a word's size at even places of the fan that hold no ink, (H, W) bool."""
    mask = np.zeros(fan.shape, bool)
    rows, columns = np.flatnonzero(fan.any(1)), np.flatnonzero(fan.any(0))
    if not len(rows):
        return mask
    smooth = cv2.blur(grey, (9, 9))
    for _ in range(count):
        best, least = None, np.inf
        for _ in range(24):
            height, width = int(rng.integers(14, 34)), int(rng.integers(30, 200))
            y, x = int(rng.integers(rows[0], rows[-1] + 1)), int(rng.integers(columns[0], columns[-1] + 1))
            block = np.s_[y : y + height, x : x + width]
            if fan[block].size < height * width or not fan[block].all() or ink[block].any():
                continue
            # Bone and vessel walls are kept out: a decoy must not cost anatomy.
            uneven = float(smooth[block].std())
            if uneven < least:
                best, least = block, uneven
        if best is not None:
            mask[best] = True
    return mask


def _square(size: int) -> np.ndarray:
    return np.ones((size, size), np.uint8)
