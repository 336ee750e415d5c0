"""Windows on a frame for the leak probe: one where a label stood, one alike where nothing did. Pixels only, no model.

A window has one fixed size and is centred on the label, so that neither its size nor its edges tell how long the word
was. The control window is taken from the same frame, at a like depth and distance from the fan's axis, clear of every
word: what the anatomy alone tells of the view, it tells there too.
"""

from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[int, int, int, int]

# Share of the label's box inside the fan below which nothing of the word was ever over the picture.
INSIDE = 0.5
# The window in label heights: room for nearly every label, and for little of the anatomy around it. A window twice as
# tall leaves the probe so little to read that it finds uncleaned words on half of the frames only.
HEIGHTS, WIDTHS = 1.8, 7.2
PATCH = (24, 96)  # pixels the probe sees, rows and columns
_STEP = 8  # pixels between the places tried for a control window
# Repainting reaches some pixels beyond a word's box; a control window keeps off it by so many label heights.
_CLEARANCE = 0.5
_CLOSING = 15  # pixels: dark gaps in the fan's edge up to this are closed


@dataclass(frozen=True)
class SideBySide:
    """uint8 (H, W) cleaned frame, the same part of the delivered one in grey, and the fan, bool (H, W)."""

    image_id: str
    clean: np.ndarray
    delivered: np.ndarray
    fan: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Centres (y, x) in pixels of the cleaned frame: of the window where the label stood, and of its control."""

    former: tuple[float, float]
    control: tuple[float, float]


def fan_area(clean: np.ndarray) -> np.ndarray:
    """(H, W) bool: the fan of a cleaned frame, uint8 (H, W) and zero outside it; dark areas inside belong to it."""
    # Padded by more than closing reaches, or it would seal dark corners off from the outside.
    drawn = np.pad((clean > 0).astype(np.uint8), _CLOSING)
    closed = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((_CLOSING, _CLOSING), np.uint8))
    outside = closed.copy()
    cv2.floodFill(outside, None, (0, 0), 2)
    return (outside != 2)[_CLOSING:-_CLOSING, _CLOSING:-_CLOSING]


def fan_hull(fan: np.ndarray) -> np.ndarray:
    """(H, W) bool: the smallest convex area around a fan, bool (H, W). A shadow or fluid that reaches the rim is black
    and taken for outside by `fan_area`; text may have stood there. What lies above the probe's arc comes with it."""
    points = np.argwhere(fan)[:, ::-1].astype(np.int32)
    hull = np.zeros(fan.shape, np.uint8)
    if len(points):
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hull > 0


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a frame, uint8 (H, W) or RGB (H, W, 3): its luma."""
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def union(boxes: list[Box]) -> Box:
    """The smallest box around all."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def inside_share(fan: np.ndarray, box: Box) -> float:
    """Share of a box that lies in the fan, 0 to 1; what is off the frame counts as outside."""
    x0, y0, x1, y1 = box
    area = max(0, x1 - x0) * max(0, y1 - y0)
    return float(fan[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)].sum()) / area if area else 0.0


def place_pair(fan: np.ndarray, label: Box, words: list[Box], text_height: float) -> Pair | None:
    """Where to look on one frame, or None when the label was outside the fan or no control window is clear of text.

    fan: (H, W) bool; label, words: boxes in the cleaned frame's pixels (words: all of the frame, the label's among
    them); text_height: pixels, the same for all frames that are compared.
    """
    if inside_share(fan, label) < INSIDE:
        return None
    height, width = round(HEIGHTS * text_height), round(WIDTHS * text_height)
    former = ((label[1] + label[3]) / 2, (label[0] + label[2]) / 2)
    taken = np.zeros(fan.shape, np.uint8)
    reach = round(_CLEARANCE * text_height)
    for x0, y0, x1, y1 in words:
        taken[max(0, y0 - reach) : max(0, y1 + reach), max(0, x0 - reach) : max(0, x1 + reach)] = 1
    kernel = (width, height)
    in_fan = _counts(fan.astype(np.uint8), kernel) / (width * height)
    in_text = _counts(taken, kernel)
    rows, columns = np.mgrid[0 : fan.shape[0] : _STEP, 0 : fan.shape[1] : _STEP]
    axis = float(np.flatnonzero(fan.any(0)).mean())
    here = in_fan[min(round(former[0]), fan.shape[0] - 1), min(round(former[1]), fan.shape[1] - 1)]
    cost = (
        np.abs(rows - former[0]) / height
        + np.abs(np.abs(columns - axis) - abs(former[1] - axis)) / width
        + 4 * np.abs(in_fan[::_STEP, ::_STEP] - here)
    )
    cost[in_text[::_STEP, ::_STEP] > 0] = np.inf
    best = np.unravel_index(np.argmin(cost), cost.shape)
    if not np.isfinite(cost[best]):
        return None
    return Pair(former, (float(rows[best]), float(columns[best])))


def _counts(mask: np.ndarray, kernel: tuple[int, int]) -> np.ndarray:
    """(H, W) int32: pixels of a 0/1 mask in the window (width, height) around each; off the frame there are none."""
    return cv2.boxFilter(mask, cv2.CV_32S, kernel, normalize=False, borderType=cv2.BORDER_CONSTANT)


def cut(image: np.ndarray, centre: tuple[float, float], text_height: float) -> np.ndarray:
    """PATCH uint8: the window around `centre` (y, x) of a uint8 (H, W) picture, black where it leaves the picture."""
    height, width = round(HEIGHTS * text_height), round(WIDTHS * text_height)
    top, left = round(centre[0] - height / 2), round(centre[1] - width / 2)
    window = np.zeros((height, width), np.uint8)
    y0, x0 = max(0, top), max(0, left)
    part = image[y0 : max(y0, top + height), x0 : max(x0, left + width)]
    window[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]] = part
    return cv2.resize(window, PATCH[::-1], interpolation=cv2.INTER_AREA)
