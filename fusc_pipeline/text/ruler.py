"""The depth ruler on a tight crop: dots and dashes below each other at equal steps, near the left or right edge.

On black it is found by its sharpness (`drawn`); over tissue and after lossy compression by its order alone.
"""

import cv2
import numpy as np

# Columns from either edge; steps between ticks; how many of them, of those that there should be, and of
# the frame's height, are needed.
_REACH, _STEPS, _TICKS, _SHARE, _SPAN = 64, (10, 130), 5, 0.8, 0.4
# A tick: less tall than this, so much brighter than what is above and below it.
_TALL, _TICK = 6, 30
_OFF = 1.6
# The focus mark beside the ruler, and the dashes of the ruler itself: size, and how far they stand out.
_MARK, _BESIDE, _STANDS_OUT, _LIGHT, _STEEP = 16, 26, 60, 130, 90


def find_rulers(grey: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """(H, W) bool: ticks, and the focus mark beside them, of rulers that reach into the fan. grey: (H, W) uint8;
    fan: (H, W) bool."""
    found = np.zeros(grey.shape, bool)
    if min(grey.shape) < 128:
        return found
    flat = cv2.subtract(grey, cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((_TALL, 1), np.uint8)))
    for first in (0, grey.shape[1] - _REACH):
        strip = flat[:, first : first + _REACH]
        # A column and its neighbours: ticks are two or three pixels wide.
        strength = cv2.dilate(strip, np.ones((1, 3), np.uint8))
        orders = {x: _order(strength[:, x]) for x in range(1, _REACH - 1, 2)}
        best = max(orders, key=lambda x: len(orders[x]))
        if len(orders[best]) < _TICKS:
            continue
        if not fan[orders[best], first + best].any():
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats((strip >= _TICK).astype(np.uint8), connectivity=8)
        ticks = [
            index
            for row in orders[best]
            for index in np.unique(labels[max(0, row - 1) : row + 2, best - 1 : best + 2])
            if index and stats[index, cv2.CC_STAT_WIDTH] <= _MARK and stats[index, cv2.CC_STAT_HEIGHT] <= _TALL
        ]
        if not _are_flush(stats[ticks]):
            continue
        found[:, first : first + _REACH] |= np.isin(labels, ticks)
        _beside(found, grey, (max(0, first + best - 4), min(grey.shape[1], first + best + _BESIDE)))
    return found


def _are_flush(stats: np.ndarray) -> bool:
    """Whether most of the ticks begin, or end, in one column."""
    if len(stats) < _TICKS:
        return False
    begin, width = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_WIDTH]
    return any((np.abs(side - np.median(side)) <= 1).mean() >= _SHARE for side in (begin, begin + width))


def _order(strength: np.ndarray) -> list[int]:
    """Rows of the most ticks of a column that stand at equal steps along it, nearly all of them present."""
    highest = cv2.dilate(strength[:, None], np.ones((7, 1), np.uint8))[:, 0]
    peaks = np.flatnonzero((strength >= _TICK) & (strength == highest))
    # Plateaus of a few rows count once.
    peaks = peaks[np.concatenate([[True], np.diff(peaks) > 2])] if len(peaks) else peaks
    if not _TICKS <= len(peaks) <= 80:
        return []
    best: list[int] = []
    # The ruler's first tick is one of the first: there is little else in its columns.
    for i, start in enumerate(peaks[:8]):
        for other in peaks[i + 1 : i + 5]:
            step = float(other - start)
            if not _STEPS[0] <= step <= _STEPS[1]:
                continue
            rows, here, missed = [], float(start), 0
            while here < len(strength) and missed <= 2:
                at = int(peaks[np.argmin(np.abs(peaks - here))])
                if abs(at - here) <= _OFF:
                    rows.append(at)
                    if len(rows) > 1:
                        step = (rows[-1] - rows[0]) / round((rows[-1] - rows[0]) / step)
                    here, missed = at + step, 0
                else:
                    here, missed = here + step, missed + 1
            span = round((rows[-1] - rows[0]) / step) + 1
            # Ticks stand everywhere along the ruler: a few in a row somewhere are tissue.
            if len(rows) >= _SHARE * span and rows[-1] - rows[0] >= _SPAN * len(strength) and len(rows) > len(best):
                best = rows
    return best


def _beside(found: np.ndarray, grey: np.ndarray, columns: tuple[int, int]) -> None:
    """Mark small bright marks of sharp edges beside a ruler: the focus, longer dashes."""
    band = np.ascontiguousarray(grey[:, columns[0] : columns[1]])
    high = cv2.subtract(band, cv2.morphologyEx(band, cv2.MORPH_OPEN, np.ones((_MARK + 1, _MARK + 1), np.uint8)))
    steep = cv2.morphologyEx(band, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    marks = ((high >= _STANDS_OUT) & (band >= _LIGHT)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marks, connectivity=8)
    for index, (_, _, width, height, area) in enumerate(stats[1:], start=1):
        if 3 <= width <= _MARK and 2 <= height <= _MARK and area >= 6 and np.median(steep[labels == index]) >= _STEEP:
            found[:, columns[0] : columns[1]] |= labels == index
