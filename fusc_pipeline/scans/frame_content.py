"""What a frame shows: one B-mode picture, or colour flow, a trace, two pictures, a rendered surface. Only a flag.

By DICOM where it speaks (`content_from_dicom`), else by the picture (`content_of_picture`), which names anything but
B-mode only when it is sure: what it misses stays with the B-mode frames. Finding the scan itself is `fan`'s part.
"""

import re
from collections.abc import MutableSequence

import cv2
import numpy as np
from pydicom.dataset import Dataset

from fusc_pipeline.scans.frames import Box
from fusc_pipeline.scans.region import picture_boxes, region_kinds

# DICOM PS3.3 C.8.5.6.1.1: the fourth value of Image Type is a sum of modes, in hexadecimal.
_MODES = (
    (0x0040, "render_3d"),
    (0x0004 | 0x0008, "spectral"),
    (0x0002 | 0x0020, "m_mode"),
    (0x0010 | 0x0100, "colour_flow"),
)
_M_MODE_FORMAT, _SPECTRAL_FORMAT = 2, 3
_COLOUR_FLOW, _PW_DOPPLER, _CW_DOPPLER = 2, 3, 4
_HALVES_AT_LEAST, _OVERLAP_AT_MOST = 0.4, 0.2  # two regions are a dual screen: areas alike, hardly overlapping

_WIDTH = 240  # of the small picture that is looked at: detail below a text's stroke says nothing here
_LEVELS = 16  # steps of brightness in which a tint has one colour each
_OFF_TINT = 18.0  # distance in the CrCb plane
# Share of the scan in areas off its tint. Plain frames, tinted ones too, stay under 0.006; real Doppler from 0.02 on.
_COLOUR_SHARE = 0.012
_LIT, _SPECK = 14, 5
_EMPTY = 0.01
# Speckle and fine structures against the local mean. Real B-mode, smoothed by the machine, stays over 0.06.
_SMOOTH = 0.04
_STRONG_TINT = 0.35


def content_from_dicom(header: Dataset, shape: tuple[int, int]) -> str | None:
    """The content that Image Type or the Sequence of Ultrasound Regions names; None where they name B-mode or nothing.

    shape: (height, width) of the frame. Many machines write a tissue region over colour flow as well, so None does not
    say that there is none.
    """
    modes = _modes(header)
    kinds = region_kinds(header, shape)
    formats, types = {kind[0] for kind in kinds}, {kind[1] for kind in kinds}
    named = {name for bits, name in _MODES if modes & bits}
    if _SPECTRAL_FORMAT in formats or types & {_PW_DOPPLER, _CW_DOPPLER}:
        named.add("spectral")
    if _M_MODE_FORMAT in formats:
        named.add("m_mode")
    if _COLOUR_FLOW in types:
        named.add("colour_flow")
    if _are_two(picture_boxes(header, shape)):
        named.add("dual")
    return next((name for name in ("render_3d", "spectral", "m_mode", "dual", "colour_flow") if name in named), None)


def content_of_picture(pixels: np.ndarray, region: Box) -> str:
    """The content of a frame, uint8 (H, W) or (H, W, 3), whose scan lies in `region`; one of schemas.CONTENTS."""
    small = _shrunk(pixels)
    lit = _lit(small)
    strip = _strip_below(lit)
    if strip is not None:
        return strip
    if _side_by_side(lit):
        return "dual"
    if pixels.ndim == 2:
        return "b_mode"
    scale = small.shape[1] / pixels.shape[1]
    x0, y0 = (min(int(edge * scale), side - 1) for edge, side in zip(region[:2], small.shape[1::-1], strict=True))
    x1, y1 = (round(edge * scale) for edge in region[2:])
    view = np.ascontiguousarray(small[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    if _off_tint_share(view) > _COLOUR_SHARE:
        return "colour_flow"
    return "render_3d" if _is_render(view) else "b_mode"


def _modes(header: Dataset) -> int:
    values = header.get("ImageType")
    mode = str(values[3]) if isinstance(values, MutableSequence) and len(values) > 3 else ""
    return int(mode, 16) if re.fullmatch(r"[0-9A-Fa-f]{4}", mode) else 0


def _are_two(boxes: list[Box]) -> bool:
    """Whether the two largest boxes are alike in area and lie beside or below each other."""
    if len(boxes) < 2:
        return False
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes[:2]
    larger, smaller = (ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0)
    shared = max(0, min(ax1, bx1) - max(ax0, bx0)) * max(0, min(ay1, by1) - max(ay0, by0))
    return smaller > _HALVES_AT_LEAST * larger and shared < _OVERLAP_AT_MOST * smaller


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """The picture, 240 pixels wide or less. Pixels are dropped before they are averaged, which is much faster."""
    step = max(1, pixels.shape[1] // (2 * _WIDTH))
    pixels = np.ascontiguousarray(pixels[::step, ::step])
    scale = min(1.0, _WIDTH / pixels.shape[1])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _lit(small: np.ndarray) -> np.ndarray:
    """1 where the picture is brighter than a screen's background; strokes of text are opened away."""
    grey = small if small.ndim == 2 else cv2.max(cv2.max(*cv2.split(small)[:2]), small[..., 2])
    return cv2.morphologyEx((grey > _LIT).astype(np.uint8), cv2.MORPH_OPEN, np.ones((_SPECK, _SPECK), np.uint8))


def _off_tint_share(view: np.ndarray) -> float:
    """Share of the view in areas, not strokes, whose colour is not that of the other pixels as bright.

    A tint gives every brightness one colour, so its median per level of brightness explains it; what Doppler paints
    over the grey or tinted tissue is not explained.
    """
    brightness, *chroma = cv2.split(cv2.cvtColor(view, cv2.COLOR_RGB2YCrCb))
    level = brightness // (256 // _LEVELS)
    sample = level[::2, ::2]
    tint = np.full((2, _LEVELS), 128, np.float32)
    for step in range(_LEVELS):
        here = sample == step
        if here.any():
            tint[:, step] = [np.median(plane[::2, ::2][here]) for plane in chroma]
    step = 256 // _LEVELS
    off = (
        cv2.subtract(plane, cv2.LUT(brightness, np.repeat(colour, step)), dtype=cv2.CV_32F)
        for plane, colour in zip(chroma, tint, strict=True)
    )
    away = (cv2.magnitude(*off) > _OFF_TINT).astype(np.uint8)
    return float(cv2.morphologyEx(away, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).mean())


def _is_render(view: np.ndarray) -> bool:
    """A surface rendered in skin colours: a strong tint from red to yellow, and smooth where B-mode is grainy."""
    few = view[::3, ::3].reshape(-1, 3).astype(np.float32)
    brightest = few.max(axis=1)
    lit = brightest > 40
    if lit.mean() < 0.1:
        return False
    red, green, blue = np.median(few[lit], axis=0)
    if not red > green > blue or np.median(1 - few[lit].min(axis=1) / brightest[lit]) < _STRONG_TINT:
        return False
    grey = view.mean(axis=2, dtype=np.float32)
    around = cv2.blur(grey, (7, 7))
    body = around > 30
    return bool(body.any()) and float(np.median(np.abs(grey - around)[body] / around[body])) < _SMOOTH


def _side_by_side(lit: np.ndarray) -> bool:
    """Two pictures alike in size beside each other, apart at least where their tops are."""
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if len(rows) < 40 or len(columns) < 120:
        return False
    body = lit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = body.shape
    left, right = body[:, : width // 2], body[:, width // 2 :]
    if not 0.6 < (left.mean() + 1e-6) / (right.mean() + 1e-6) < 1 / 0.6 or min(left.mean(), right.mean()) < 0.2:
        return False
    top = body[: height // 4]
    middle = top[:, round(0.46 * width) : round(0.54 * width)]
    sides = (top[:, : width // 3], top[:, width - width // 3 :])
    return (
        middle.mean() < _EMPTY
        and all(side.mean() > 0.15 for side in sides)
        and all(side.any(axis=0).mean() > 0.3 for side in sides)
    )


def _strip_below(lit: np.ndarray) -> str | None:
    """m_mode or spectral where a wide strip with upright ends lies below the picture, apart from it; else None."""
    height, width = lit.shape
    empty = np.flatnonzero(lit.mean(axis=1) < _EMPTY)
    for row in empty[(empty > 0.3 * height) & (empty < 0.75 * height)]:
        above, below = lit[:row], lit[row + 1 :]
        rows = np.flatnonzero(below.any(axis=1))
        if above.mean() < 0.05 or len(rows) < 0.15 * height:
            continue
        strip = below[rows[0] : rows[-1] + 1]
        columns = np.flatnonzero(strip.any(axis=0))
        if len(columns) < 0.55 * width or columns[-1] + 1 - columns[0] > 1.1 * len(columns):
            continue
        strip = strip[:, columns[0] : columns[-1] + 1]
        if strip.mean() > 0.85 and strip[:, :2].mean() > 0.8 and strip[:, -2:].mean() > 0.8:
            return "m_mode"
        # A spectrum stands on its straight base line: each column is one piece, and most end at the same row.
        pieces = np.count_nonzero(np.diff(strip, axis=0, prepend=0) == 1, axis=0)
        ends = len(strip) - np.argmax(strip[::-1], axis=0)
        on_line = np.abs(ends - np.median(ends)) <= 1
        if strip.mean() > 0.15 and (pieces == 1).mean() > 0.8 and on_line.mean() > 0.9:
            return "spectral"
    return None
