"""Which pixels of the fan are overlay: coloured ink, marks, panels anywhere; bright or dark ink where words were read.

`drawn` finds marks of one exact level, `panels` the areas words are typed on. Repainting is `removal`'s business;
colour Doppler is measured here and left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.text.calipers import find_calipers
from fusc_pipeline.text.drawn import find_drawn
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.greybar import find_grey_bars
from fusc_pipeline.text.panels import find_black_plates, find_panels, find_plate
from fusc_pipeline.text.ruler import find_rulers

# Chroma against the frame's own tint; B-mode after lossy compression stays below.
_CHROMA = 36
# Coloured areas that a disc of this many pixels fits into are colour flow, not ink: strokes of type are thinner.
_FLOW_DISC = 13
# Ink: this far from the local median towards the box's brightest (darkest) pixels, and at least so many grey levels.
_INK_SHARE = 0.35
_INK_LEVELS = 18
_MEDIAN_WINDOW = 41
# The brightest and the darkest of a box are this share of its pixels. Speckle alone reaches further up than down;
# letters are dark where the darkest are this many times as far from the local median as the brightest.
_EXTREME = 4
_DARK = 1.2
# Lines of text are less tall than the first share of the frame, and than the second unless something clear was read.
_TALLEST, _TALL = 0.2, 0.13
# Strokes cover a share of their word's box; where coloured pixels reach this one, they are the strokes.
_STROKES = 0.1
# Letters of one line are at most so far apart, and so tall.
_LETTER_GAP, _LINE_HEIGHT = 9, (8, 40)
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


def find_ink(
    grey: np.ndarray, chroma: np.ndarray, fan: np.ndarray, words: Sequence[Word], blocks: Sequence[Word] = ()
) -> Ink:
    """Overlay pixels of a frame.

    grey, chroma: (H, W) uint8 of `colour.grey_and_chroma`; fan: (H, W) bool; words: what an engine found; blocks: words
    whose strokes could not be told from the tissue: their boxes are ink as a whole.
    """
    coloured = (chroma > _CHROMA) & fan
    flow = cv2.morphologyEx(coloured.astype(np.uint8), cv2.MORPH_OPEN, _disc(_FLOW_DISC))
    if flow.any():
        # What touches a flow area at its rim belongs to it.
        flow = cv2.dilate(flow, _disc(5))
    drawn = find_drawn(grey, fan) & (flow == 0)
    mask = (coloured & (flow == 0)) | drawn
    for word in words:
        y0, y1, x0, x1 = padded(word, grey.shape)
        inside = np.s_[y0:y1, x0:x1]
        box = np.s_[max(0, word.y0) : word.y1, max(0, word.x0) : word.x1]
        own = grey[box]
        if not own.size or not fan[inside].any() or is_tissue(word, grey.shape):
            continue
        # Coloured words need no ground to be told from the tissue.
        plate = None if coloured[box].mean() >= _STROKES else find_plate(grey, word)
        if plate is not None:
            mask[plate[0] : plate[1], plate[2] : plate[3]] = True
        mask[inside] |= _strokes(grey, word, inside) | coloured[inside]
    plates = [find_plate(grey, line) for line in _lines(drawn)]
    for y0, y1, x0, x1 in [*filter(None, plates), *find_black_plates(grey, fan)]:
        mask[y0:y1, x0:x1] = True
    for word in blocks:
        mask[max(0, word.y0) : word.y1, max(0, word.x0) : word.x1] = True
    mask |= _marks(grey) | find_calipers(grey, fan) | (find_panels(grey) & (flow == 0))
    mask |= find_grey_bars(grey) | find_rulers(grey, fan)
    mask &= fan
    return Ink(mask, int(np.count_nonzero(coloured)) / max(1, int(np.count_nonzero(fan))))


def _lines(drawn: np.ndarray) -> list[Word]:
    """Drawn marks that stand in a line, as words nobody read: a logo that the fan's edge cuts, for one."""
    if not drawn.any():
        return []
    joined = cv2.dilate(drawn.astype(np.uint8), np.ones((3, _LETTER_GAP), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    low, high = _LINE_HEIGHT
    return [
        Word(int(x), int(y), int(x + w), int(y + h), "", 1.0)
        for x, y, w, h, _ in stats[1:]
        if low <= h <= high and w >= _LETTER_GAP + low
    ]


def is_tissue(word: Word, shape: tuple[int, ...]) -> bool:
    """Whether a box is a detector's mistake: its letters would be far too tall for a line of text."""
    share = word.thickness / shape[0]
    return share > _TALLEST or (share > _TALL and word.confidence < 0.5)


def padded(word: Word, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A word's box as (y0, y1, x0, x1), grown by what a detector typically cuts off, clipped to the frame."""
    across = max(3, round(0.2 * word.thickness))
    # The first and last letter are cut off more often than the top and bottom.
    along = max(across, round(0.45 * word.thickness))
    aside, above = (along, across) if word.upright else (across, along)
    return (
        max(0, word.y0 - above),
        min(shape[0], word.y1 + above),
        max(0, word.x0 - aside),
        min(shape[1], word.x1 + aside),
    )


def _strokes(grey: np.ndarray, word: Word, inside: tuple[slice, slice]) -> np.ndarray:
    """Pixels of a word's surroundings `inside` that stand out from the local median towards the ink's own grey level,
    above it and, for dark letters, below."""
    around = np.ascontiguousarray(grey[inside])
    size = min(_MEDIAN_WINDOW, 2 * (min(around.shape) // 2) - 1)
    if size < 3:
        return np.ones_like(around, bool)
    ground = cv2.medianBlur(around, size).astype(np.int16)
    # The box as read tells how bright this line is; its surroundings may hold a brighter one.
    top, left = inside[0].start, inside[1].start
    box = np.s_[max(0, word.y0 - top) : word.y1 - top, max(0, word.x0 - left) : word.x1 - left]
    own, apart = around[box], (around - ground)[box]
    above, below = np.percentile(apart, 100 - _EXTREME), -np.percentile(apart, _EXTREME)
    level = int(np.percentile(own, 100 - _EXTREME))
    strokes = around > ground + np.maximum(_INK_LEVELS, _INK_SHARE * (level - ground))
    if below > _DARK * above:
        level = int(np.percentile(own, _EXTREME))
        # Faint letters among bone look dark at first: of these boxes both go.
        strokes |= around < ground - np.maximum(_INK_LEVELS, _INK_SHARE * (ground - level))
    return strokes


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
