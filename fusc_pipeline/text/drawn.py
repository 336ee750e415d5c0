"""Marks that were drawn on a frame: letters, ruler ticks, focus triangles, dots. No words are needed.

B-mode is smooth: it is made by interpolation, and one pixel differs from the next by little. What a machine draws over
it is of one exact level and ends from one pixel to the next on every side; or it is smoothed at its edges, but stands
on even black. This holds for grey overlay on grey tissue, lighter or darker, as long as no lossy compression lies
between; where it does, `ink`'s other rules remain.
"""

from typing import Any, cast

import cv2
import numpy as np

# A step to the next pixel, in grey levels, that counts as an end.
_STEP = 24
_WHITE = 240
# Of a black mark's end, which is all the darker tissue leaves.
_BLACK, _BLACK_STEP = 2, 10
# Of a mark's border: the mean step (each capped, so that a few great ones do not carry it), and the share of steps that
# are ends. Both hold across and down: a specular echo ends abruptly above and below, never at its sides.
_MEAN_STEP, _CAP, _SHARE = 32, 100, 0.7
_LARGEST = 1500
# Smaller marks count where at least so many are alike in size and level, or stand below each other.
_SURE_SIZE, _COMPANY = 4, 3
# Light marks with smoothed edges: at least so light, at most so large, and two pixels further out it is black.
_LIGHT, _LIGHT_AREA, _EVEN_BLACK = 90, 900, 0.6
# Letters of a line are at most so far apart.
_LETTER_GAP = 7
# In place of 0 and 1, what lies outside the picture.
_OUTSIDE = 2
# How far, in pixels, the inside of a mark may be from its border.
_REACH = 9
# So far from the fan, in pixels, the rest of a cut word is looked for.
_BESIDE = 24
# More of the fan than this is no overlay.
_MOST = 0.1
# Nor are more marks than this in so large a share of the fan's cells of so many pixels: where speckle is hard and
# clipped to black, its grains are even and end abruptly too. (Seen: overlay up to 128 marks or 23 % of the cells, never
# both; such speckle from 138 marks and 24 %.)
_MANY, _EVERYWHERE, _CELL = 100, 0.2, 32


def find_drawn(grey: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """(H, W) bool: drawn marks inside the fan and beside it, where the fan's edge may cut a word.

    grey: (H, W) uint8; fan: (H, W) bool.
    """
    found = np.zeros(grey.shape, bool)
    x, y, width, height = cv2.boundingRect(fan.astype(np.uint8))
    if not width:
        return found
    x0, y0, x1, y1 = max(0, x - _BESIDE), max(0, y - _BESIDE), x + width + _BESIDE, y + height + _BESIDE
    # A window's border line would join the ticks that stand on it.
    top, left = _border(grey[:, x0:x1]), _border(grey[y0:y1].T)
    bottom, right = _border(grey[::-1, x0:x1]), _border(grey[y0:y1, ::-1].T)
    box = np.s_[max(y0, top) : min(y1, len(grey) - bottom), max(x0, left) : min(x1, grey.shape[1] - right)]
    # White is seldom quite even where a mark's edges are smoothed.
    inside = np.minimum(grey[box], _WHITE)
    if min(inside.shape) < 2 or _is_enlarged(inside):
        return found
    marks = _light_on_black(inside)
    sharp = _sharp_marks(inside)
    if not _is_speckle(sharp & fan[box], fan[box]):
        marks |= sharp
    if np.count_nonzero(marks & fan[box]) <= _MOST * np.count_nonzero(fan):
        found[box] = marks
    return found


def _is_speckle(marks: np.ndarray, fan: np.ndarray) -> bool:
    """Whether marks are grains of the picture itself: many, and all over it."""
    if cv2.connectedComponents(marks.view(np.uint8))[0] - 1 <= _MANY:
        return False
    cells = (max(1, fan.shape[1] // _CELL), max(1, fan.shape[0] // _CELL))
    held, counted = (cv2.resize(mask.astype(np.float32), cells, interpolation=cv2.INTER_AREA) for mask in (marks, fan))
    inside = counted > 0.5
    return bool(np.count_nonzero((held > 0) & inside) > _EVERYWHERE * np.count_nonzero(inside))


def _is_enlarged(grey: np.ndarray) -> bool:
    """Whether a picture was enlarged by repeating pixels: then all of it is even and ends abruptly."""
    for lines in (grey, grey.T):
        uneven = (lines[:-1] != lines[:1, :1]).any(1)
        again = (lines[:-1] == lines[1:]).all(1)
        if np.count_nonzero(again & uneven) <= 0.3 * np.count_nonzero(uneven):
            return False
    return True


def _border(lines: np.ndarray, most: int = 3) -> int:
    """How many of the first lines are of one level all along, at most `most`."""
    uneven = np.ptp(lines[:most], axis=1) > 0
    return int(np.argmax(uneven)) if uneven.any() else 0


def _sharp_marks(grey: np.ndarray) -> np.ndarray:
    """Areas of one exact level that end abruptly on every side."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = np.zeros(grey.shape, bool)
    # One pixel around the picture that is neither equal nor an end.
    near = cv2.copyMakeBorder(_near_ends(grey), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=_OUTSIDE).ravel()
    level = cv2.copyMakeBorder(grey, 1, 1, 1, 1, cv2.BORDER_REPLICATE).ravel()
    pixels = np.flatnonzero(near == 1)
    if not len(pixels):
        return found
    width = grey.shape[1] + 2
    own = level[pixels]
    number = np.zeros(len(near), np.int32)
    number[pixels] = np.arange(len(pixels))
    neighbours = [pixels + shift for shift in (1, width, -1, -width)]
    steps = [cv2.absdiff(own, level[there]).ravel() for there in neighbours]
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for there, step in zip(neighbours[:2], steps[:2], strict=True):
        equal = np.flatnonzero((step == 0) & (near[there] == 1))
        left.append(equal)
        right.append(number[there[equal]])
    first, second = np.concatenate(left), np.concatenate(right)
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(pixels), len(pixels)))
    count, labels = connected_components(links, directed=False)

    size = np.bincount(labels, minlength=count)
    good = size <= _LARGEST
    need = np.full(count, _STEP)
    need[labels[own <= _BLACK]] = _BLACK_STEP
    total, ended, border = (np.zeros((2, count)) for _ in range(3))
    for axis, there, step in zip((0, 1, 0, 1), neighbours, steps, strict=True):
        beyond = near[there]
        # An area that goes on beyond what was looked at is larger than any mark.
        good[labels[(step == 0) & (beyond == 0)]] = False
        edge = (step > 0) & (beyond != _OUTSIDE)
        label, height = labels[edge], np.minimum(step[edge], _CAP)
        total[axis] += np.bincount(label, height, count)
        ended[axis] += np.bincount(label, height >= need[label], count)
        border[axis] += np.bincount(label, minlength=count)
    good &= (total >= need * border).all(0)
    good &= (total.sum(0) >= _MEAN_STEP / _STEP * need * border.sum(0)) & (ended.sum(0) >= _SHARE * border.sum(0))
    good &= border.sum(0) > 0
    good &= (size >= _SURE_SIZE) | _in_company(good, labels, size, own, pixels % width)
    marks = pixels[good[labels]]
    found[marks // width - 1, marks % width - 1] = True
    return found


def _in_company(
    good: np.ndarray, labels: np.ndarray, size: np.ndarray, levels: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Per mark: whether others are like it, or begin in its column as the ticks of a ruler do.

    A grain of coarse speckle may be even and sharp by chance; dots and minor ticks are many of one kind. good, size:
    per mark; labels, levels, columns: the mark, level and column of each pixel.
    """
    count = len(size)
    level = np.zeros(count, np.int64)
    level[labels] = levels >> 5
    kind = level * _SURE_SIZE + np.minimum(size, _SURE_SIZE - 1)
    # A single pixel is like any other; only its place tells.
    tiny = good & (size > 1) & (size < _SURE_SIZE)
    alike = np.bincount(kind[tiny], minlength=8 * _SURE_SIZE)[kind]
    begin = np.full(count, columns.max() + 1)
    within = good[labels]
    np.minimum.at(begin, labels[within], columns[within])
    beginning = np.bincount(begin[good & (size > 1)], minlength=columns.max() + 3)
    below = beginning[begin] + beginning[begin - 1] + beginning[begin + 1]
    return ((alike >= _COMPANY) & (size > 1)) | (below >= _COMPANY + 1)


def _near_ends(grey: np.ndarray) -> np.ndarray:
    """(H, W) uint8, 1: within reach of a step that may be a mark's end."""
    ends = np.zeros(grey.shape, np.uint8)
    for here, there in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        step = cv2.absdiff(grey[here], grey[there])
        dark = cv2.compare(cv2.min(grey[here], grey[there]), cast(Any, _BLACK), cv2.CMP_LE)
        on_black = cv2.bitwise_and(cv2.compare(step, cast(Any, _BLACK_STEP), cv2.CMP_GE), dark)
        end = cv2.bitwise_or(cv2.compare(step, cast(Any, _STEP), cv2.CMP_GE), on_black)
        for side in (here, there):
            ends[side] = cv2.bitwise_or(ends[side], end)
    return cv2.dilate(ends & 1, np.ones((_REACH, _REACH), np.uint8))


def _light_on_black(grey: np.ndarray) -> np.ndarray:
    """Light marks around which it is even black two pixels further out; tissue fades over more than that."""
    light = cv2.morphologyEx((grey >= _LIGHT).view(np.uint8), cv2.MORPH_CLOSE, np.ones((1, _LETTER_GAP), np.uint8))
    black = (grey <= _BLACK).view(np.uint8)
    found = np.zeros(grey.shape, bool)
    close = cv2.bitwise_and(cv2.dilate(black, np.ones((5, 5), np.uint8)), light)
    if not close.any():
        return found
    _, labels, stats, _ = cv2.connectedComponentsWithStats(light, connectivity=8)
    candidates = np.unique(labels[close > 0])
    for index in candidates[stats[candidates, cv2.CC_STAT_AREA] <= _LIGHT_AREA]:
        x, y, w, h = stats[index, :4]
        around = np.s_[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2]
        mark = (labels[around] == index).view(np.uint8)
        ring = cv2.dilate(mark, np.ones((5, 5), np.uint8)) > cv2.dilate(mark, np.ones((3, 3), np.uint8))
        if black[around][ring].mean() >= _EVEN_BLACK:
            found[around] |= (mark > 0) & (black[around] == 0)
    return found
