"""What of a screen may be image (the support, and faint specks around it), and which pictures are no ultrasound.

The outline is `outline`'s.
"""

from typing import Any, cast

import cv2
import numpy as np

from fusc_pipeline.scans.frames import NoFan

_OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
# Faint specks. A screen's black is this dark, and a speck rises more than so many levels above it (compression's
# ringing is one level), over at least this much (of 255) of an analysed pixel.
_MAX_BLACK = 4
_SPECK_RISE = 1
_SPECK_COVER = 64
# Pixels of text and ticks are brighter, even when small and grey.
_INK = 64
# Thick pixels of a patch of tissue that the support lacks; of a large one, as a share of the picture.
_PATCH_PX = 60
_LARGE_PATCH = 0.0025
_NEAR_SUPPORT = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_BESIDE_STROKE = np.ones((3, 3), np.uint8)
# At half the analysed resolution: the gap between specks of one crowd, and how wide a crowd must be.
_SPECKS_APART = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
_CROWD_WIDTH = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def refuse_other_pictures(work: np.ndarray) -> None:
    """Raise NoFan for a picture whose brightness alone shows that it is no ultrasound screen: blank, or a page."""
    if np.count_nonzero(work > 12) < 0.02 * work.size:
        raise NoFan("the picture is all but black")
    if work.min() == work.max():
        raise NoFan("the picture is blank")
    half_bright = np.count_nonzero(work > 150) * 2 >= work.size  # cheaper than a median, and seldom so
    if (half_bright and np.median(work) > 150) or np.count_nonzero(work > 200) > 0.4 * work.size:
        raise NoFan("the picture is bright like a page")
    work = on_black(work)
    bright = work[:, 1:] > 12
    even = bright & (_steps(work) <= 1)
    if np.count_nonzero(even) > 0.75 * np.count_nonzero(bright):
        raise NoFan("even surfaces, as of a drawn page")


def refuse_other_textures(view: np.ndarray, grey: np.ndarray, mask: np.ndarray) -> None:
    """Raise NoFan when the inside of the outline is no speckle: noise, or a photograph."""
    x, y, width, height = cv2.boundingRect(mask)
    inner, inside = grey[y : y + height, x : x + width], mask[y : y + height, x : x + width]
    pairs = inside[:, 1:] & inside[:, :-1]
    steps = cv2.norm(inner[:, 1:], inner[:, :-1], cv2.NORM_L2SQR, pairs) / max(cv2.countNonZero(pairs), 1)
    deviation = cv2.meanStdDev(inner, mask=inside)[1].item()
    # Half the mean squared step between neighbours over the variance is 1 - their correlation; speckle is smooth.
    if steps / 2 > 0.6 * deviation**2:
        raise NoFan("neighbouring pixels have nothing to do with each other, as in noise")
    if view.ndim == 3:
        # About 64 by 64 means; a whole number of pixels to each is four times faster.
        down, across = (max(size // 64, 1) for size in view.shape[:2])
        rows, columns = view.shape[0] // down, view.shape[1] // across
        means = cv2.resize(view[: rows * down, : columns * across], (columns, rows), interpolation=cv2.INTER_AREA)
        small = means.astype(np.int16)
        if np.mean(np.ptp(small, axis=2) > 70) > 0.4:
            raise NoFan("the picture is in full colour like a photograph")


def on_black(work: np.ndarray) -> np.ndarray:
    """The analysed picture; of a screen of even grey, how far each pixel is from that grey."""
    border = np.concatenate([work[0], work[-1], work[:, 0], work[:, -1]]).astype(np.int16)
    level = int(np.median(border))
    if level > 12 and np.mean(np.abs(border - level) <= 1) > 0.4:
        return cv2.absdiff(work, np.full_like(work, level))
    return work


def _black(work: np.ndarray) -> int:
    """The darkest level that a visible share of the picture has."""
    shares = np.cumsum(cv2.calcHist([work], [0], None, [256], [0, 256])) / work.size
    return int(np.argmax(shares >= 0.015))


def find_lit(work: np.ndarray) -> tuple[np.ndarray, int]:
    """What is brighter than the background, thin strokes smoothed away, (H, W) uint8 0 or 1; the background's level."""
    level = _black(work)
    # Compression leaves 1 or 2 levels of ringing on black.
    lit = (cv2.medianBlur(work, 5) > (2 if level <= 2 else min(level + 2, 40))).astype(np.uint8)
    return lit, level


def find_support(work: np.ndarray, lit: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """(H, W) uint8 0 or 1, what may be image; and the rows between a title bar and a status bar, last one exclusive.

    lit: as of `find_lit`.
    """
    top, bottom = _bars(work)
    lit = lit.copy()
    lit[:top] = 0
    lit[bottom:] = 0
    opened = _without_strokes(lit)
    count, labels = cv2.connectedComponents(opened, connectivity=4)
    if count < 2:
        raise NoFan("nothing but thin strokes, as of text")
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    if areas.max() < 0.03 * work.size:
        raise NoFan("nothing but small islands, as of text")
    kept = np.flatnonzero(areas >= max(0.03 * areas.max(), 0.005 * work.size)) + 1
    support = np.logical_or.reduce([labels == piece for piece in kept])
    return support.astype(np.uint8), (top, bottom)


def find_faint(
    grey: np.ndarray,
    work: np.ndarray,
    lit: np.ndarray,
    black: int,
    support: np.ndarray,
    between: tuple[int, int],
    beyond: np.ndarray,
    least: float,
) -> np.ndarray:
    """(H, W) uint8 0 or 1: specks of nearly black image around the support; all 0 where the screen is not black.

    Where the fan is too dark to be lit, specks of its speckle still rise above the even black of the screen. grey: the
    picture at full size, where specks are not yet averaged away; lit, black: as of `find_lit`; support, between: as of
    `find_support`.
    beyond: (H, W) uint8 0 or 1, where specks would tell something new; all 0 when no more than `least` can be there.
    """
    if black > _MAX_BLACK:
        return np.zeros_like(support)
    raised = cv2.compare(grey, cast(Any, black + _SPECK_RISE), cv2.CMP_GT)
    raised = (cv2.resize(raised, work.shape[::-1], interpolation=cv2.INTER_AREA) > _SPECK_COVER).astype(np.uint8)
    # The image is brightest at the probe: nothing is supposed above what is lit, where names are written.
    raised[: max(between[0], int(np.flatnonzero(support.any(1))[0]))] = 0
    raised[between[1] :] = 0
    raised[cv2.dilate(support, _NEAR_SUPPORT) > 0] = 0
    thick = _without_strokes(lit)
    flat = np.zeros(work.shape, bool)
    flat[:, 1:] = (work[:, 1:] > 12) & (_steps(work) <= 1)
    # Strokes and grey bars go first, so that they neither hide nor pull in the specks that touch them.
    strokes = (((work > _INK) | flat) & (thick == 0)).astype(np.uint8)
    raised[cv2.dilate(strokes, _BESIDE_STROKE) > 0] = 0
    if cv2.countNonZero(raised & beyond) <= least:
        return np.zeros_like(support)

    count, pieces = cv2.connectedComponents(raised, connectivity=8)
    where = np.flatnonzero(raised)
    labels = pieces.ravel()[where]
    sizes = np.maximum(np.bincount(labels, minlength=count), 1)
    bright = np.bincount(labels, work.ravel()[where] > _INK, count) / sizes
    even = np.bincount(labels, flat.ravel()[where], count) / sizes
    thickness = np.bincount(labels, thick.ravel()[where], count)
    # What is left of text is bright and thin, a logo or a box is even; a bright patch of tissue is neither.
    speckle = (even <= 0.45) & ((bright <= 0.1) | (thickness > _PATCH_PX))
    specks, large = np.zeros_like(support), np.zeros_like(support)
    specks.ravel()[where] = speckle[labels]
    # A large patch may lie beyond black fluid; specks count in a crowd that reaches the support.
    large.ravel()[where] = (speckle & (thickness > _LARGE_PATCH * work.size))[labels]
    if cv2.countNonZero((specks | large) & beyond) <= least:
        return np.zeros_like(support)
    return (specks & _crowd(specks, support)) | large


def _crowd(specks: np.ndarray, support: np.ndarray) -> np.ndarray:
    """(H, W) uint8 0 or 1: what close-lying specks and the support cover together, where it reaches the support."""
    height, width = support.shape
    together = (specks | support) * np.uint8(255)
    # Half the resolution is enough for a surface, and four times faster.
    surface = cv2.resize(together, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA)
    surface = (surface > 0).astype(np.uint8)
    for step, shape in ((cv2.MORPH_CLOSE, _SPECKS_APART), (cv2.MORPH_OPEN, _CROWD_WIDTH)):
        surface = cv2.morphologyEx(surface, step, shape, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    surface = cv2.resize(surface, (width, height), interpolation=cv2.INTER_NEAREST) | support
    count, labels = cv2.connectedComponents(surface, connectivity=4)
    reaching = np.zeros(count, np.uint8)
    reaching[labels[support > 0]] = 1
    reaching[0] = 0
    return reaching[labels]


def _without_strokes(lit: np.ndarray) -> np.ndarray:
    """The mask without what is thinner than strokes, ticks, grey bars and window borders are."""
    # Outside the frame counts as dark.
    return cv2.morphologyEx(lit, cv2.MORPH_OPEN, _OPENING, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _steps(work: np.ndarray) -> np.ndarray:
    """(H, W - 1) absolute difference of each pixel and its left neighbour."""
    return cv2.absdiff(work[:, 1:], work[:, :-1])


def _bars(work: np.ndarray) -> tuple[int, int]:
    """First row under a title bar (0 without one) and first row of a status bar (the height without one).

    A bar is even along its rows, apart from its text; speckle never is. Dark, smooth tissue comes close, and lies at
    the bottom: there the bar must be brighter and of one exact colour.
    """
    height, width = work.shape
    steps = _steps(work)

    def share(least: int, tolerance: int, rows: slice) -> np.ndarray:
        bright = work[rows, 1:] > least
        count = bright.sum(1)
        even = (bright & (steps[rows] <= tolerance)).sum(1)
        return np.where(count > 0.15 * width, even / np.maximum(count, 1), 0.0)

    above = np.flatnonzero(share(12, 1, slice(0, height // 4)) > 0.8)
    below = np.flatnonzero(share(20, 0, slice(height - height // 6, height)) > 0.7) + height - height // 6
    # One row may be an edge of something; the row beside the bar is its blurred rim.
    top = int(above[-1]) + 2 if len(above) >= 2 else 0
    return top, int(below[0]) - 1 if len(below) >= 2 else height
