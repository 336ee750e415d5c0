"""Grey and chroma of a frame whose B-mode may be tinted (sepia, blue). Overlay colours stand out from the tint's curve.

A tint map sends each grey level to one colour, so tissue lies on a curve in colour space and an overlay (label,
caliper, colour Doppler) off it. No text is looked for here.
"""

import cv2
import numpy as np

# Tissue under a tint map stays less saturated than this (max - min of RGB); overlay colours are mostly beyond it.
_TINT_SATURATION = 100
_BINS = 32
# A luminance bin needs this share of the frame's pixels before its median counts as tissue.
_BIN_SHARE = 5e-4


def grey_and_chroma(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W) or RGB (H, W, 3) → (grey (H, W) uint8, chroma (H, W) uint8).

    Chroma is how far a pixel's colour is from the frame's own tint at its luminance, about on the scale of
    max(RGB) - min(RGB): near 0 for tissue, up to 255 for a pure colour. Grey is the luma (ITU-R BT.601).
    """
    if pixels.ndim == 2:
        return pixels, np.zeros_like(pixels)
    ycc = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2YCrCb)
    luma, red, blue = cv2.split(ycc)
    tint_red, tint_blue = tint_curve(pixels, luma, red, blue)
    # 1.4 and 1.77 take Cr and Cb back to differences of RGB (ITU-R BT.601).
    off_red = cv2.absdiff(red, cv2.LUT(luma, tint_red)).astype(np.float32) * 1.402
    off_blue = cv2.absdiff(blue, cv2.LUT(luma, tint_blue)).astype(np.float32) * 1.772
    chroma = np.minimum(np.maximum(off_red, off_blue), 255).astype(np.uint8)
    return luma, chroma


def tint_curve(
    pixels: np.ndarray, luma: np.ndarray, red: np.ndarray, blue: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Look-up tables luminance → (Cr, Cb), two uint8 (256,), of the frame's tissue; all 128 for a plain grey frame.

    Medians per luminance bin over unsaturated pixels; bins with too few pixels are interpolated, and the curve returns
    to neutral at black and white, where tint maps end.
    """
    sub = np.s_[::2, ::2]
    rgb = pixels[sub]
    saturation = rgb.max(2).astype(np.int16) - rgb.min(2)
    tissue = (saturation < _TINT_SATURATION) & (luma[sub] > 4)
    bins = luma[sub][tissue] >> 3
    needed = max(20, _BIN_SHARE * tissue.size)
    counts = np.bincount(bins, minlength=_BINS)
    known = np.flatnonzero(counts >= needed)
    curves = []
    for channel in (red, blue):
        values = channel[sub][tissue]
        joint = np.bincount(bins.astype(np.int32) * 256 + values, minlength=_BINS * 256).reshape(_BINS, 256)
        cumulative = joint.cumsum(1)
        median = (cumulative * 2 < cumulative[:, -1:]).sum(1)
        at = np.concatenate([[0], known * 8 + 4, [255]])
        value = np.concatenate([[128], median[known], [128]])
        curves.append(np.rint(np.interp(np.arange(256), at, value)).astype(np.uint8))
    return curves[0], curves[1]
