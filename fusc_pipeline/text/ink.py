"""Which pixels of the fan are overlay: coloured ink anywhere, bright ink where words were read, calipers and dots.

Repainting them is `removal`'s business; colour Doppler is measured here and left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.text.engine import Word

# Chroma against the frame's own tint; B-mode after lossy compression stays below.
_CHROMA = 36
# Coloured areas that a disc of this many pixels fits into are colour flow, not ink: strokes of type are thinner.
_FLOW_DISC = 13
# Bright ink: this far from the local median towards the box's brightest pixels, and at least so many grey levels.
_BRIGHT_SHARE = 0.35
_BRIGHT_LEVELS = 18
_MEDIAN_WINDOW = 41
# Lines of text are less tall than the first share of the frame, and than the second unless something clear was read.
_TALLEST, _TALL = 0.2, 0.13
# Panels (measurement boxes, grey bars) are exactly even along a row for at least so many pixels; speckle never is.
_PANEL_RUN, _PANEL_AREA, _PANEL_LEVELS = 8, 600, (10, 250)
# Small white marks (caliper crosses, dots of dotted lines) outside any word.
_MARK_LEVEL = 190
_MARK_CONTRAST = 90
_MARK_SIZE = 23


@dataclass(frozen=True)
class Ink:
    """mask: (H, W) bool, overlay pixels inside the fan, anti-aliased edges not included;
    chroma_share: share of the fan's pixels that are coloured, ink and colour flow together, 0 to 1."""

    mask: np.ndarray
    chroma_share: float


def find_ink(grey: np.ndarray, chroma: np.ndarray, fan: np.ndarray, words: Sequence[Word]) -> Ink:
    """Overlay pixels of a frame.

    grey, chroma: (H, W) uint8 of `colour.grey_and_chroma`; fan: (H, W) bool; words: what an engine found.
    """
    coloured = (chroma > _CHROMA) & fan
    flow = cv2.morphologyEx(coloured.astype(np.uint8), cv2.MORPH_OPEN, _disc(_FLOW_DISC))
    if flow.any():
        # What touches a flow area at its rim belongs to it.
        flow = cv2.dilate(flow, _disc(5))
    mask = coloured & (flow == 0)
    for word in words:
        y0, y1, x0, x1 = padded(word, grey.shape)
        inside = np.s_[y0:y1, x0:x1]
        own = grey[max(0, word.y0) : word.y1, max(0, word.x0) : word.x1]
        if own.size and fan[inside].any() and not is_tissue(word, grey.shape):
            # The box as read tells how bright this line is; its surroundings may hold a brighter one.
            level = int(np.percentile(own, 96))
            mask[inside] |= _bright(grey[inside], level) | coloured[inside]
    mask |= _marks(grey) | (_panels(grey) & (flow == 0))
    mask &= fan
    return Ink(mask, float(np.count_nonzero(coloured) / max(1, np.count_nonzero(fan))))


def is_tissue(word: Word, shape: tuple[int, ...]) -> bool:
    """Whether a box is a detector's mistake: far too tall for a line of text."""
    share = word.height / shape[0]
    return share > _TALLEST or (share > _TALL and word.confidence < 0.5)


def padded(word: Word, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A word's box as (y0, y1, x0, x1), grown by what a detector typically cuts off, clipped to the frame."""
    grow = max(3, round(0.2 * word.height))
    # The first and last letter are cut off more often than the top and bottom.
    along = max(grow, round(0.45 * word.height))
    return (
        max(0, word.y0 - grow),
        min(shape[0], word.y1 + grow),
        max(0, word.x0 - along),
        min(shape[1], word.x1 + along),
    )


def _bright(grey: np.ndarray, level: int) -> np.ndarray:
    """Pixels of a word's surroundings that stand out above the local median towards the ink's own grey level."""
    size = min(_MEDIAN_WINDOW, 2 * (min(grey.shape) // 2) - 1)
    if size < 3:
        return np.ones_like(grey, bool)
    ground = cv2.medianBlur(np.ascontiguousarray(grey), size).astype(np.int16)
    return grey > ground + np.maximum(_BRIGHT_LEVELS, _BRIGHT_SHARE * (level - ground))


def _panels(grey: np.ndarray) -> np.ndarray:
    """Grounds of measurement boxes and grey bars: areas whose rows hold runs of exactly equal pixels."""
    low, high = _PANEL_LEVELS
    equal = np.zeros(grey.shape, np.uint8)
    equal[:, 1:] = (grey[:, 1:] == grey[:, :-1]) & (grey[:, 1:] >= low) & (grey[:, 1:] < high)
    # An opening keeps runs of _PANEL_RUN - 1 equal steps; the left end of a run is one pixel further left.
    runs = cv2.morphologyEx(equal, cv2.MORPH_OPEN, np.ones((1, _PANEL_RUN - 1), np.uint8))
    runs[:, :-1] |= runs[:, 1:]
    # Lines of type cut a panel into strips.
    runs = cv2.morphologyEx(runs, cv2.MORPH_CLOSE, np.ones((19, 25), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=4)
    keep = np.zeros(count, bool)
    for index in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= _PANEL_AREA):
        x, y, w, h = stats[index, :4]
        keep[index] = index > 0 and _is_upright_box(labels[y : y + h, x : x + w] == index)
    return keep[labels]


def _is_upright_box(shape: np.ndarray) -> bool:
    """Whether both sides are straight and upright; saturated tissue is even as well, but has no such sides."""
    # Two columns wide, because an edge may be smoothed; rows that hold type may not reach the sides.
    left, right = shape[:, :2].any(1).mean(), shape[:, -2:].any(1).mean()
    return bool(min(left, right) >= 0.4 and shape.mean() >= 0.7)


def _marks(grey: np.ndarray) -> np.ndarray:
    """Caliper crosses and dots: small, white, thin and apart from everything else that is bright."""
    ground = cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    candidates = ((grey >= _MARK_LEVEL) & (grey - ground >= _MARK_CONTRAST)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates, connectivity=8)
    width, height, area = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT], stats[:, cv2.CC_STAT_AREA]
    # A cross fills little of its square box, which is at least 7 px across.
    cross = (
        (np.maximum(width, height) <= _MARK_SIZE)
        & (np.minimum(width, height) >= 7)
        & (np.abs(width - height) <= 3)
        & (area <= 0.45 * width * height)
    )
    cross[0] = False
    keep = np.zeros(count, bool)
    for index in np.flatnonzero(cross):
        x, y, w, h = stats[index, :4]
        keep[index] = _is_cross(labels[y : y + h, x : x + w] == index)
    return keep[labels]


def _is_cross(shape: np.ndarray) -> bool:
    """An upright or a slanted cross: nearly all of its pixels lie on two lines through its middle."""
    height, width = shape.shape
    ys, xs = np.nonzero(shape)
    u, v = xs - (width - 1) / 2, ys - (height - 1) / 2
    upright = np.minimum(np.abs(u), np.abs(v)) <= 1.6
    slanted = np.abs(np.abs(u) - np.abs(v)) <= 2.1
    reach = 0.35 * max(height, width)
    ends = [(u > reach).any(), (u < -reach).any(), (v > reach).any(), (v < -reach).any()]
    return all(ends) and max(upright.mean(), slanted.mean()) >= 0.95


def _disc(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
