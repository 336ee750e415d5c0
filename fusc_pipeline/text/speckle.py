"""Repaints areas of a B-mode frame: smooth part by inpainting, speckle copied from a similar place of the same frame.

Speckle after log compression is close to a texture that multiplies the local mean; so a repainted pixel is the local
mean there times the ratio of pixel to local mean somewhere else. Knows nothing about text.
"""

import cv2
import numpy as np

# Standard deviation, in pixels, of the window that separates local mean from speckle.
_SIGMA = 8.0
# Keeps ratios finite in anechoic areas, in grey levels.
_FLOOR = 6.0
_CANDIDATES = 48
# Speckle's strength (the spread of those ratios) is measured over about so many pixels.
_STRENGTH_SIGMA = 16.0
_SMALLEST = 10
# Areas nowhere thicker than twice this (caliper lines, dots, crosses) are narrower than a grain of speckle or two once
# their rim is taken off: plain inpainting is closer there.
_THIN = 7.0
# Over so many pixels inward from its rim, a repainted area goes from the true texture to the copied one.
RIM = 3


def refill(grey: np.ndarray, mask: np.ndarray, fan: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of grey (H, W) uint8 with `mask` (H, W) bool repainted; pixels outside `mask` are kept as they are.

    The outer RIM pixels of `mask` must show clean tissue: there true and copied texture are mixed, so that no grain of
    speckle ends in a straight line.
    """
    image = grey.copy()
    if not mask.any():
        return image
    mean = local_mean(grey, mask, fan)
    ratio = (grey + _FLOOR) / (mean + _FLOOR)
    source = fan & ~mask
    strength = local_strength(ratio, source)
    # The fan's edge is no rim: what lies along it may be ink that crosses it.
    depth = cv2.distanceTransform((mask | ~fan).astype(np.uint8), cv2.DIST_L2, 3)
    share = np.minimum(1.0, depth / (RIM + 1))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    thin = np.ones(count, bool)
    thin[labels[mask & (depth > _THIN)]] = False
    core = (thin[labels] & mask & (depth > RIM)).astype(np.uint8)
    if core.any():
        image = cv2.inpaint(grey, core, 3, cv2.INPAINT_TELEA)
    for index in np.flatnonzero(~thin):
        x, y, width, height, _ = stats[index]
        area = labels[y : y + height, x : x + width] == index
        _fill(image, area, (y, x), mean, ratio, strength, share, source, rng)
    return image


def local_mean(grey: np.ndarray, mask: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """Local mean of the tissue, float32 (H, W), with `mask` inpainted first; made at half size, being that smooth."""
    height, width = grey.shape
    half = (-(-width // 2), -(-height // 2))
    small = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    holes = cv2.resize(grown, half, interpolation=cv2.INTER_NEAREST)
    weight = cv2.resize(fan.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    # Black and furniture outside the fan must not bleed in, neither here nor through the inpainting's neighbourhoods.
    tissue = ((weight > 0.99) & (holes == 0)).astype(np.float32)
    around = _smooth(small * tissue, 8 * _SIGMA) / np.maximum(_smooth(tissue, 8 * _SIGMA), 1e-3)
    small = np.where(weight > 0.99, small, np.clip(around, 0, 255).astype(np.uint8))
    filled = cv2.inpaint(small, holes, 3, cv2.INPAINT_TELEA).astype(np.float32)
    mean = cv2.GaussianBlur(filled, (0, 0), _SIGMA / 2)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)


def local_strength(ratio: np.ndarray, source: np.ndarray) -> np.ndarray:
    """How strong the speckle is, float32 (H, W): log of the ratios' spread over clean tissue around each pixel."""
    half = (-(-ratio.shape[1] // 2), -(-ratio.shape[0] // 2))
    clean = source.astype(np.float32)
    squares = np.where(source, np.square(np.minimum(ratio, 3.0) - 1), 0.0).astype(np.float32)
    weight, spread = (cv2.resize(image, half, interpolation=cv2.INTER_AREA) for image in (clean, squares))
    known = _smooth(weight, _STRENGTH_SIGMA)
    variance = _smooth(spread, _STRENGTH_SIGMA) / np.maximum(known, 1e-3)
    # Where hardly any clean tissue is near: what is usual in this frame.
    usual = float(spread.sum() / max(weight.sum(), 1.0))
    variance = np.where(known > 0.02, variance, usual)
    small = 0.5 * np.log(np.maximum(variance, 1e-4)).astype(np.float32)
    return cv2.resize(small, (ratio.shape[1], ratio.shape[0]), interpolation=cv2.INTER_LINEAR)


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """A wide blur at an eighth of the resolution, where it costs next to nothing."""
    size = (max(1, image.shape[1] // 8), max(1, image.shape[0] // 8))
    tiny = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / 16)
    return cv2.resize(tiny, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)


def _fill(
    image: np.ndarray,
    area: np.ndarray,
    corner: tuple[int, int],
    mean: np.ndarray,
    ratio: np.ndarray,
    strength: np.ndarray,
    share: np.ndarray,
    source: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Repaints one area, (h, w) bool with its top left corner at `corner`, in place; splits it when no source fits."""
    height, width = area.shape
    y, x = corner
    target = mean[y : y + height, x : x + width]
    shift = _find_source(area, corner, target, mean, strength, source, rng)
    if shift is None and max(height, width) > _SMALLEST:
        if width >= height:
            half = width // 2
            parts = ((area[:, :half], (y, x)), (area[:, half:], (y, x + half)))
        else:
            half = height // 2
            parts = ((area[:half], (y, x)), (area[half:], (y + half, x)))
        for part, at in parts:
            if part.any():
                _fill(image, part, at, mean, ratio, strength, share, source, rng)
        return
    here = np.s_[y : y + height, x : x + width]
    new_texture: float | np.ndarray = 0.0
    if shift is not None:
        there = np.s_[y + shift[0] : y + shift[0] + height, x + shift[1] : x + shift[1] + width]
        new_texture = ratio[there] - 1
    # Weights whose squares sum to 1 keep the variance of two independent textures.
    texture = 1 + share[here] * new_texture + np.sqrt(1 - share[here] ** 2) * (ratio[here] - 1)
    new = np.clip(np.rint((target + _FLOOR) * texture - _FLOOR), 0, 255).astype(np.uint8)
    image[here][area] = new[area]


def _find_source(
    area: np.ndarray,
    corner: tuple[int, int],
    target: np.ndarray,
    mean: np.ndarray,
    strength: np.ndarray,
    source: np.ndarray,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """The shift (dy, dx) to a place of like brightness and speckle where the whole area is clean tissue, or None.

    Speckle grows with depth, so far shifts along the beam count as less alike.
    """
    height, width = area.shape
    y, x = corner
    rows, columns = source.shape
    wanted = target[area] + _FLOOR
    wanted_strength = strength[y : y + height, x : x + width][area]
    best, best_cost = None, np.inf
    for attempt in range(_CANDIDATES):
        reach = 60 + 8 * attempt
        dy, dx = int(rng.integers(-reach // 3, reach // 3 + 1)), int(rng.integers(-reach, reach + 1))
        top, left = y + dy, x + dx
        if top < 0 or left < 0 or top + height > rows or left + width > columns:
            continue
        if not source[top : top + height, left : left + width][area].all():
            continue
        there = mean[top : top + height, left : left + width][area]
        # Unlike brightness inside the area means structure (bone, vessel walls) that must not be copied.
        unlike = np.abs(np.log((there + _FLOOR) / wanted)).mean()
        coarser = np.abs(strength[top : top + height, left : left + width][area] - wanted_strength)
        # The largest difference counts too: one edge in an otherwise even patch is what an eye finds.
        cost = unlike + coarser.mean() + coarser.max() + 0.002 * abs(dy)
        if cost < best_cost:
            best, best_cost = (dy, dx), cost
    return best
