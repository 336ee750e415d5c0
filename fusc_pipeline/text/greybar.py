"""The grey bar: a machine's scale of its grey levels, an upright ramp from white to black near the left or right edge.

On a tight crop it stands on the picture, where nothing else of it is text; and it tells one machine from another. It is
even across, bright at its top, fades steadily over its length and ends abruptly at its sides.
"""

import cv2
import numpy as np

# Columns from either edge that are looked at; widths and lengths of bars, in pixels.
_REACH, _WIDTH, _LENGTH = 56, (5, 48), (46, 420)
# Its upper end: at least so bright, so much brighter than what is above it. It fades at least to a share of that.
_BRIGHT, _TOP, _FADE = 150, 70, 0.45
# In grey levels: steps up on the way down, for some bars are dithered; mean distance from a straight fading, for some
# are curved; of its columns from each other.
_UNEVEN, _BENT, _APART = 22, 34, 20
# So far its sides stand out from what lies beside them, on average, and so far along this share of its upper half.
_SIDE, _STEP, _ALONG = 24, 10, 0.85


def find_grey_bars(grey: np.ndarray) -> np.ndarray:
    """(H, W) bool: bars of a grey frame, (H, W) uint8, with a pixel around them."""
    found = np.zeros(grey.shape, bool)
    if min(grey.shape) < 2 * _LENGTH[0]:
        return found
    smooth = cv2.blur(grey, (1, 9)).astype(np.float32)
    edges = [*range(1, _REACH, 3), *range(grey.shape[1] - 2, grey.shape[1] - _REACH, -3)]
    for x in edges:
        for top, bottom in _ramps(smooth[:, x]):
            if found[top + 2 : bottom - 2, x].all():
                continue
            sides = _sides(smooth, x, top, bottom)
            if sides is not None:
                found[max(0, top - 5) : bottom + 5, max(0, sides[0] - 1) : sides[1] + 2] = True
    return found


def _ramps(column: np.ndarray) -> list[tuple[int, int]]:
    """(first, last + 1) rows of every steady fading of a column, smoothed over nine rows."""
    found = []
    rise = column[10:] - column[:-10]
    starts = np.flatnonzero((rise >= _TOP) & (column[10:] >= _BRIGHT)) + 10
    if column[:8].mean() >= _BRIGHT:
        starts = np.concatenate([[4], starts])
    last = -1
    for start in starts:
        if start <= last:
            continue
        # From the brightest row near the jump on, while it goes down.
        first = int(start + int(np.argmax(column[start : start + 12])))
        fading = np.minimum.accumulate(column[first : first + _LENGTH[1]])
        up = np.flatnonzero(column[first : first + len(fading)] > fading + _UNEVEN)
        length = int(up[0]) if len(up) else len(fading)
        dark = np.flatnonzero(fading[:length] <= 6)
        length = min(length, int(dark[0]) + 1 if len(dark) else length)
        last = int(start) + 10
        if length < _LENGTH[0]:
            continue
        levels = column[first : first + length]
        straight = np.linspace(levels[0], levels[-1], length)
        if levels[-1] <= _FADE * levels[0] and np.abs(levels - straight).mean() <= _BENT:
            found.append((first, first + length))
            last = first + length
    return found


def _sides(smooth: np.ndarray, x: int, top: int, bottom: int) -> tuple[int, int] | None:
    """(first, last) column of the bar that column x is in; None for one that has no sides or is too wide."""
    # The upper half: there the bar is bright, and what lies beside it seldom is in the same way.
    rows = slice(top + 6, top + max(24, (bottom - top) // 2))
    own = smooth[rows, x]
    left = right = x
    while left > 0 and np.abs(smooth[rows, left - 1] - own).mean() <= _APART and x - left < _WIDTH[1]:
        left -= 1
    while (
        right < smooth.shape[1] - 1 and np.abs(smooth[rows, right + 1] - own).mean() <= _APART and right - x < _WIDTH[1]
    ):
        right += 1
    if not _WIDTH[0] <= right - left + 1 <= _WIDTH[1]:
        return None
    for side, way in ((left, -1), (right, 1)):
        near, far = side + 2 * way, side + 8 * way
        if not 0 <= near < smooth.shape[1]:
            continue
        # Speckle stands out one way and the other along it, and tissue goes on fading beside what is taken for a side.
        step = smooth[rows, side - way] - smooth[rows, near]
        further = smooth[rows, side - way] - smooth[rows, min(max(far, 0), smooth.shape[1] - 1)]
        stands_out = np.abs(step).mean() >= _SIDE and (np.abs(step) > _STEP).mean() >= _ALONG
        if not stands_out or abs(step.mean()) < max(_SIDE / 2, 0.6 * abs(further.mean())):
            return None
    return left, right
