"""Areas that hide the picture: measurement boxes, grey bars, and the plates that logos and words are typed on.

They are even along a row, exactly; speckle never is. Strokes and marks are `ink`'s and `drawn`'s part.
"""

import itertools
from typing import Any, cast

import cv2
import numpy as np

from fusc_pipeline.text.engine import Word

# Runs of exactly equal pixels this long, in areas this large, of levels that are neither fluid nor saturated bone.
_RUN, _AREA, _LEVELS = 8, 600, (10, 250)
# A scale of grey levels is at least so tall and at most so wide, in pixels.
_BAR_HEIGHT, _BAR_WIDTH = 40, 60
# A plate's own level covers this share of its word, and of each line of pixels around the word.
_PLATE_IN_WORD, _PLATE_AROUND = 0.2, 0.9
# A plate ends from one pixel to the next, by so many levels, along this share of a side.
_PLATE_STEP, _PLATE_SIDE = 12, 0.6
# Black plates: their level, the length of edge that is no chance, how tall and wide they are, and their strokes' level.
_BLACK, _PLATE_EDGE, _PLATE_SIZE, _STROKE = 2, 12, (64, 160), 90


def find_panels(grey: np.ndarray) -> np.ndarray:
    """(H, W) bool: grounds of measurement boxes and grey bars. grey: (H, W) uint8."""
    low, high = _LEVELS
    equal = np.zeros(grey.shape, np.uint8)
    equal[:, 1:] = (grey[:, 1:] == grey[:, :-1]) & (grey[:, 1:] >= low) & (grey[:, 1:] < high)
    # An opening keeps runs of _RUN - 1 equal steps; the left end of a run is one pixel further left.
    runs: np.ndarray = cv2.morphologyEx(equal, cv2.MORPH_OPEN, np.ones((1, _RUN - 1), np.uint8))
    runs[:, :-1] |= runs[:, 1:]
    found = _grey_bars(grey, runs)
    # Lines of type cut a panel into strips.
    runs = cv2.morphologyEx(runs, cv2.MORPH_CLOSE, np.ones((19, 25), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=4)
    for index in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= _AREA):
        x, y, w, h = stats[index, :4]
        shape = labels[y : y + h, x : x + w] == index
        if index > 0 and _is_upright_box(shape):
            found[y : y + h, x : x + w] |= shape
    return found


def _grey_bars(grey: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """(H, W) bool: the scales of grey levels beside a picture, white to black, each row even."""
    found = np.zeros(grey.shape, bool)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=4)
    for index in np.flatnonzero(stats[:, cv2.CC_STAT_HEIGHT] >= _BAR_HEIGHT):
        x, y, width, height, _ = stats[index]
        # Even fluid beside the bar may have joined it; the bar's own columns are full.
        full = np.flatnonzero(np.mean(labels[y : y + height, x : x + width] == index, axis=0) >= 0.8)
        if not index or not _RUN <= len(full) <= _BAR_WIDTH or full[-1] - full[0] >= len(full):
            continue
        x, width = x + full[0], len(full)
        # One pixel of the sides may be smoothed.
        rows = grey[:, x + 1 : x + width - 1]
        even = np.ptp(rows, axis=1) == 0
        if even[y : y + height].mean() < 0.95:
            continue
        steps = np.diff(rows[y : y + height, 0].astype(np.int16))
        if not (np.mean(steps >= 0) >= 0.95 or np.mean(steps <= 0) >= 0.95):
            continue
        # Its ends are as white as bone and as black as fluid: they are found by going on.
        top, bottom = y, y + height
        while top > max(0, y - height) and even[top - 1]:
            top -= 1
        while bottom < min(len(grey), y + 2 * height) and even[bottom]:
            bottom += 1
        found[top:bottom, x : x + width] = True
    return found


def _is_upright_box(shape: np.ndarray) -> bool:
    """Whether both sides are straight and upright; saturated tissue is even as well, but has no such sides."""
    # Two columns wide, because an edge may be smoothed; rows that hold type may not reach the sides.
    left, right = shape[:, :2].any(1).mean(), shape[:, -2:].any(1).mean()
    return bool(min(left, right) >= 0.4 and shape.mean() >= 0.7)


def find_black_plates(grey: np.ndarray, fan: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Boxes (y0, y1, x0, x1) of black plates that hold light strokes, as of logos, found by a corner: two straight
    edges, at which black meets tissue from one pixel to the next, that end together. fan: (H, W) bool."""
    left, top, width, height = cv2.boundingRect(fan.astype(np.uint8))
    if not width:
        return []
    inside = grey[top : top + height, left : left + width]
    black = cv2.inRange(inside, 0, _BLACK)
    lit = cv2.compare(inside, cast(Any, _BLACK + _PLATE_STEP // 2), cv2.CMP_GT)
    found = []
    sides, ends = (
        (_edges(black, lit, 1), _edges(black, lit, -1)),
        (_edges(black.T, lit.T, 1), _edges(black.T, lit.T, -1)),
    )
    for (across, side), (down, end) in itertools.product(
        zip((1, -1), sides, strict=True), zip((1, -1), ends, strict=True)
    ):
        for y, x in np.argwhere(side & end.T):
            tall, wide = _run(side[:, x], y, -down), _run(end[:, y], x, -across)
            y0, x0 = (y - tall + 1 if down > 0 else y), (x - wide + 1 if across > 0 else x)
            plate = inside[y0 : y0 + tall, x0 : x0 + wide]
            if tall > _PLATE_SIZE[0] or wide > _PLATE_SIZE[1] or np.mean(plate <= _BLACK) < 0.4:
                continue
            if 0.03 <= np.mean(plate >= _STROKE) <= 0.5:
                found.append((top + int(y0), top + int(y0) + tall, left + int(x0), left + int(x0) + wide))
    return found


def _edges(black: np.ndarray, lit: np.ndarray, across: int) -> np.ndarray:
    """(H, W) uint8: black pixels of upright straight edges whose next pixel across (1: to the right) is lit."""
    edge = np.zeros_like(black)
    if across > 0:
        edge[:, :-1] = black[:, :-1] & lit[:, 1:]
    else:
        edge[:, 1:] = black[:, 1:] & lit[:, :-1]
    line = np.ones((_PLATE_EDGE, 1), np.uint8)
    # Letters that reach the edge leave gaps in it.
    return cv2.morphologyEx(cv2.morphologyEx(edge, cv2.MORPH_CLOSE, line), cv2.MORPH_OPEN, line)


def _run(line: np.ndarray, start: int, step: int) -> int:
    """How many pixels of a line are set from `start` on, forwards or backwards."""
    onward = line[start::step] > 0
    return len(onward) if onward.all() else int(np.argmin(onward))


def find_plate(grey: np.ndarray, word: Word) -> tuple[int, int, int, int] | None:
    """Box (y0, y1, x0, x1) of the plate a word is typed on, or None: typed straight onto the picture."""
    rows, columns = grey.shape
    # Engines give boxes with a margin that may be wider than the plate's.
    y0, y1, x0, x1 = max(0, word.y0), min(rows, word.y1), max(0, word.x0), min(columns, word.x1)
    levels = np.bincount(grey[y0:y1, x0:x1].ravel(), minlength=256)
    level = int(levels.argmax())
    inset = word.thickness // 4
    y0, y1, x0, x1 = y0 + inset, y1 - inset, x0 + inset, x1 - inset
    if y1 - y0 < 3 or x1 - x0 < 3 or levels[level] < _PLATE_IN_WORD * levels.sum():
        return None
    even = cv2.absdiff(grey, np.full_like(grey, level)) < _PLATE_STEP
    y0 = y0 - _margin(even[:y0, x0:x1][::-1], word.thickness)
    y1 = y1 + _margin(even[y1:, x0:x1], word.thickness)
    x0 = x0 - _margin(even[y0:y1, :x0].T[::-1], word.thickness)
    x1 = x1 + _margin(even[y0:y1, x1:].T, word.thickness)
    ends = (
        (grey[y0, x0:x1], grey[y0 - 1, x0:x1] if y0 > 0 else None),
        (grey[y1 - 1, x0:x1], grey[y1, x0:x1] if y1 < rows else None),
        (grey[y0:y1, x0], grey[y0:y1, x0 - 1] if x0 > 0 else None),
        (grey[y0:y1, x1 - 1], grey[y0:y1, x1] if x1 < columns else None),
    )
    seen = sum(
        outside is not None and np.mean(cv2.absdiff(last, outside) >= _PLATE_STEP) >= _PLATE_SIDE
        for last, outside in ends
    )
    # Fluid may end in a straight wall once.
    return (y0, y1, x0, x1) if seen >= 2 else None


def _margin(lines: np.ndarray, height: int) -> int:
    """How many lines, outward from inside a word, belong to its plate. lines: (n, length) bool, of its level."""
    share = lines[: 3 * height].mean(1) >= _PLATE_AROUND if len(lines) else np.zeros(0, bool)
    # Past the letters, which end within the box or a little beyond.
    letters = int(np.argmax(share)) if share[: height // 2 + 1].any() else 0
    if not share[letters : letters + 1].any():
        return 0
    beyond = share[letters:]
    return letters + (int(np.argmin(beyond)) if not beyond.all() else len(beyond))
