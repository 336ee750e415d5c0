"""What of a screen may be image (the support), and which pictures are no ultrasound. The outline is `outline`'s."""

import cv2
import numpy as np

from fusc_pipeline.scans.frames import NoFan

_OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
_MAX_BLACK = 4
_SPECK_RISE = 1
_SPECK_COVER = 64
_SPECK_BRIGHTEST = 90
_NEAR_SUPPORT = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_CROWD = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (19, 19))
_CROWD_OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))


def refuse_other_pictures(work: np.ndarray) -> None:
    """Raise NoFan for a picture whose brightness alone shows that it is no ultrasound screen: blank, or a page."""
    if np.count_nonzero(work > 12) < 0.02 * work.size:
        raise NoFan("the picture is all but black")
    if work.min() == work.max():
        raise NoFan("the picture is blank")
    if np.median(work) > 150 or np.count_nonzero(work > 200) > 0.4 * work.size:
        raise NoFan("the picture is bright like a page")
    work = on_black(work)
    bright = work[:, 1:] > 12
    even = bright & (_steps(work) <= 1)
    if np.count_nonzero(even) > 0.75 * np.count_nonzero(bright):
        raise NoFan("even surfaces, as of a drawn page")


def refuse_other_textures(view: np.ndarray, grey: np.ndarray, mask: np.ndarray) -> None:
    """Raise NoFan when the inside of the outline is no speckle: noise, or a photograph."""
    x, y, width, height = cv2.boundingRect(mask)
    inner = grey[y : y + height, x : x + width].astype(np.float32)
    inside = mask[y : y + height, x : x + width] > 0
    pairs = inside[:, 1:] & inside[:, :-1]
    # Half the mean squared step between neighbours over the variance is 1 - their correlation; speckle is smooth.
    if np.mean(np.square(np.diff(inner, axis=1)[pairs])) / 2 > 0.6 * np.var(inner[inside]):
        raise NoFan("neighbouring pixels have nothing to do with each other, as in noise")
    if view.ndim == 3:
        small = cv2.resize(view, (64, 64), interpolation=cv2.INTER_AREA).astype(np.int16)
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
    shares = np.cumsum(np.bincount(work.ravel(), minlength=256)) / work.size
    return int(np.argmax(shares >= 0.015))


def _lit(work: np.ndarray) -> np.ndarray:
    """(H, W) bool: what is brighter than the background, thin strokes smoothed away."""
    level = _black(work)
    # Compression leaves 1 or 2 levels of ringing on black.
    return cv2.medianBlur(work, 5) > (2 if level <= 2 else min(level + 2, 40))


def find_support(work: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """(H, W) uint8 0 or 1, what may be image; and the rows between a title bar and a status bar, last one exclusive."""
    lit = _lit(work).astype(np.uint8)
    top, bottom = _bars(work)
    lit[:top] = 0
    lit[bottom:] = 0
    # Strokes, ticks, grey bars and window borders are thinner than this; outside the frame counts as dark.
    opened = cv2.morphologyEx(lit, cv2.MORPH_OPEN, _OPENING, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        raise NoFan("nothing but thin strokes, as of text")
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.max() < 0.03 * work.size:
        raise NoFan("nothing but small islands, as of text")
    kept = np.flatnonzero(areas >= max(0.03 * areas.max(), 0.005 * work.size)) + 1
    return np.isin(labels, kept).astype(np.uint8), (top, bottom)


def find_faint(grey: np.ndarray, work: np.ndarray, support: np.ndarray, between: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 0 or 1: the specks of nearly black image beside the support; all 0 where the screen is not black.

    Where a fan is too dark to be lit, single specks of its speckle still rise above the screen's even black. grey: the
    picture at full size, where specks are not yet averaged away; work, support, between: as in `find_support`.
    """
    level = _black(work)
    if level > _MAX_BLACK:
        return np.zeros_like(support)
    raised = ((grey > level + _SPECK_RISE) * np.uint8(255)).astype(np.uint8)
    raised = (cv2.resize(raised, work.shape[::-1], interpolation=cv2.INTER_AREA) > _SPECK_COVER).astype(np.uint8)
    raised[: between[0]] = 0
    raised[between[1] :] = 0
    raised[cv2.dilate(support, _NEAR_SUPPORT) > 0] = 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(raised, connectivity=8)
    # What is drawn has bright pixels, whatever its fringes are; so has tissue, but that is the support's to tell.
    drawn = np.zeros(count, bool)
    drawn[labels[(raised > 0) & (work > _SPECK_BRIGHTEST)]] = True
    drawn[0] = True
    specks = (~drawn)[labels].astype(np.uint8)
    # Specks count only in a crowd that reaches the support: filled to a surface, and opened again.
    crowd = cv2.morphologyEx(specks | support, cv2.MORPH_CLOSE, _CROWD, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    crowd = cv2.morphologyEx(crowd, cv2.MORPH_OPEN, _CROWD_OPENING, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    crowd |= support
    _, labels = cv2.connectedComponents(crowd, connectivity=4)
    reached = np.zeros(labels.max() + 1, bool)
    reached[labels[support > 0]] = True
    return specks & reached[labels]


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
