"""The fan: the outline of the ultrasound image on a screen, found from the picture alone. No DICOM, no text reading.

The support (everything brighter than the background that is no thin stroke, bar or small island) is fitted by
two straight sides and two circular ends, the annulus sector of Weld et al., arXiv 2502.09482; where an edge cannot be
seen, because it is dark or cut by the frame, the support's convex hull stands in for it. Where faint speckle outside
shows that this missed a dark part, the fit is made again with it. So dark tissue inside is
fan, text outside is not, and a label typed over tissue leaves no hole.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.scans.frames import Box, NoFan
from fusc_pipeline.scans.outline import Outline
from fusc_pipeline.scans.support import (
    find_faint,
    find_lit,
    find_support,
    on_black,
    refuse_other_pictures,
    refuse_other_textures,
)

__all__ = ["Fan", "NoFan", "find_fan"]

# Side of the picture that is analysed; outlines are straight or smooth, so half a screen's resolution is plenty.
_WORK_SIDE = 480
_MIN_SIDE = 48
# Faint specks outside the outline, as a share of the support: more of them show that it missed a dark part.
_MISSED = 0.002
_MIN_CONFIDENCE = 0.25


@dataclass(frozen=True)
class Fan:
    """mask: (H, W) bool, True inside. box: its bounding box. confidence: 0 to 1, how much of the outline was seen.

    kind: sector (two sides and a round end), trapezoid (two sides), cut (the frame cuts a side) or full (all of it).
    """

    mask: np.ndarray
    box: Box
    confidence: float
    kind: str


def find_fan(pixels: np.ndarray, region: Box | None = None) -> Fan:
    """The fan of a frame, uint8 (H, W) or (H, W, 3); only within `region` where DICOM gives one. Raises NoFan.

    The mask has the frame's shape, is one piece without holes and is False outside the region.
    """
    x0, y0, x1, y1 = region or (0, 0, pixels.shape[1], pixels.shape[0])
    view = pixels[y0:y1, x0:x1]
    if min(view.shape[:2]) < _MIN_SIDE:
        raise NoFan(f"the picture is smaller than {_MIN_SIDE} pixels")
    grey = view if view.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_RGB2GRAY)
    scale = min(1.0, _WORK_SIDE / max(grey.shape))
    work = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    refuse_other_pictures(work)
    outline, mask, shape = _outline(grey, work, scale)
    refuse_other_textures(view if region is None else grey, grey, mask)
    small = cv2.resize(mask, (work.shape[1], work.shape[0]), interpolation=cv2.INTER_NEAREST) > 0
    confidence = outline.confidence(small)
    if confidence < _MIN_CONFIDENCE:
        raise NoFan("what is bright in the picture has no outline of a fan")
    full = np.zeros(pixels.shape[:2], bool)
    full[y0:y1, x0:x1] = mask > 0
    left, upper, width, height = cv2.boundingRect(mask)
    box = (x0 + left, y0 + upper, x0 + left + width, y0 + upper + height)
    return Fan(full, box, confidence, "full" if cv2.countNonZero(mask) > 0.985 * mask.size else shape)


def _outline(grey: np.ndarray, work: np.ndarray, scale: float) -> tuple[Outline, np.ndarray, str]:
    """The outline, its mask (uint8 0 or 255, the shape of `grey`) and its kind; work: `grey` at the analysed scale."""
    dark = on_black(work)
    bright, black = find_lit(dark)
    support, between = find_support(dark, bright)
    lit = Outline.fit(support, np.zeros_like(support), between)
    mask, shape = lit.draw(grey.shape, scale)
    if dark is not work:
        return lit, mask, shape
    beyond = (cv2.resize(mask, work.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0).astype(np.uint8)
    few = _MISSED * cv2.countNonZero(support)
    faint = find_faint(grey, work, bright, black, support, between, beyond, few)
    if cv2.countNonZero(faint & beyond) <= few:
        return lit, mask, shape
    wider = Outline.fit(support, faint, between)
    # Specks bend an outline that was seen all around for the worse, unless they too show it all around.
    if lit.is_whole and not wider.is_whole:
        return lit, mask, shape
    return wider, *wider.draw(grey.shape, scale)
