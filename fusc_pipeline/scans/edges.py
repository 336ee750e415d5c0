"""Robust fits to the edge of a binary support: straight sides and circular ends. Geometry only, no picture.

A side is a line x = a*y + b, an end a circle whose centre lies above its points. Both are found by trying what a few
edge points span (RANSAC with a fixed set of trials, so the same edge gives the same fit) and counting for and against.
"""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

_INLIER_PX = 1.3
_OUTSIDE_PX = 2.5
# Support on the wrong side of an edge speaks against it more than one point on it speaks for it.
_OUTSIDE_WEIGHT = 3.0
_ANCHORS = 22
_MIN_RADIUS = 15.0


@dataclass(frozen=True)
class Side:
    """x = slope * y + offset; first and last: the rows where the edge was seen; inliers: how many rows."""

    slope: float
    offset: float
    first: int
    last: int
    inliers: int

    def x_at(self, y: float | np.ndarray) -> float | np.ndarray:
        """Column of the side in row y."""
        return self.slope * y + self.offset


@dataclass(frozen=True)
class Arc:
    """The lower half of a circle: y = cy + sqrt(r^2 - (x - cx)^2); first and last: columns where it was seen."""

    cx: float
    cy: float
    radius: float
    first: int
    last: int
    inliers: int

    def y_at(self, x: float | np.ndarray) -> float | np.ndarray:
        """Row of the arc in column x; the centre's row beside the circle."""
        return self.cy + np.sqrt(np.maximum(self.radius**2 - (np.asarray(x, float) - self.cx) ** 2, 0.0))


def fit_side(rows: np.ndarray, columns: np.ndarray, free: np.ndarray, inward: int, min_inliers: int) -> Side | None:
    """The straight edge through the outermost support of each row, or None.

    rows, columns: (N,) the edge points. free: (N,) bool, False where the frame's border cuts the support, so that the
    point is no edge. inward: +1 for a left side (support lies at larger x), -1 for a right side.
    """
    usable = np.flatnonzero(free)
    if len(usable) < min_inliers:
        return None
    y, x = rows.astype(float), columns.astype(float)
    first, second = _pairs(usable)
    rise = y[second] - y[first]
    slope = (x[second] - x[first]) / rise
    # Sides of a fan part downwards (up to 150 degrees between them), or are nearly upright in a box or trapezoid.
    opens = -inward * slope
    keep = (opens > -0.25) & (opens < 4.0)
    if not keep.any():
        return None
    slope, first = slope[keep], first[keep]
    offset = x[first] - slope * y[first]
    # (trials, N): distance of each point from each line, positive inside.
    unit = inward / np.hypot(1.0, slope)
    inside = _product([unit, -slope * unit, -offset * unit], [x, y, np.ones_like(x)])
    on_line = (np.abs(inside) <= _INLIER_PX) & free
    score = _score(on_line, inside < -_OUTSIDE_PX)
    best = int(np.argmax(score))
    chosen = on_line[best]
    if chosen.sum() < min_inliers or score[best] <= 0:
        return None
    seen, along = rows[chosen], y[chosen] - y[chosen].mean()
    # Least squares; some two rows differ, so that the divisor is positive.
    a = (along @ x[chosen]) / (along @ along)
    b = x[chosen].mean() - a * y[chosen].mean()
    return Side(float(a), float(b), int(seen.min()), int(seen.max()), int(chosen.sum()))


def apex_of(left: Side, right: Side, support_top: int) -> tuple[float, float] | None:
    """(x, y) where two sides meet above the image, or None when they run (nearly) parallel or cross within it."""
    opening = right.slope - left.slope
    if opening < 0.1:
        return None
    y = (left.offset - right.offset) / opening
    return (float(left.x_at(y)), y) if y < support_top + 2 * _OUTSIDE_PX else None


def mirrored(side: Side, axis: float) -> Side:
    """The opposite side of a fan that is symmetric about the column `axis`."""
    return replace(side, slope=-side.slope, offset=2 * axis - side.offset)


def fit_arc(
    columns: np.ndarray,
    rows: np.ndarray,
    free: np.ndarray,
    inward: int,
    min_inliers: int,
    max_radius: float,
    centre: tuple[float, float] | None = None,
) -> Arc | None:
    """The circular end through the lowest (inward -1) or highest (inward +1) support of each column, or None.

    columns, rows: (N,) the edge points, free those that may lie on the end. centre: where the sides of the fan meet;
    the ends of a sector are circles about it (Weld et al., arXiv 2502.09482). Without it any circle whose centre is
    above its points is tried; a straight end is a very large one, up to max_radius.
    """
    usable = np.flatnonzero(free)
    if len(usable) < max(min_inliers, 3):
        return None
    x, y = columns.astype(float), rows.astype(float)
    if centre is not None:
        radii = np.unique(np.round(np.hypot(x[usable] - centre[0], y[usable] - centre[1]) * 2) / 2)
        radii = radii[radii <= max_radius]
        cx, cy, radius = np.full(len(radii), centre[0]), np.full(len(radii), centre[1]), radii
    else:
        cx, cy, radius = _circles(x, y, _triples(usable), max_radius)
    if len(radius) == 0:
        return None
    # (trials, N): squared distance of each point from each centre, less the circle's squared radius.
    beyond = _product(
        [np.ones_like(cx), -2 * cx, -2 * cy, cx**2 + cy**2 - radius**2], [x**2 + y**2, x, y, np.ones_like(x)]
    )
    near, far = ((2 * radius * px).astype(np.float32)[:, None] for px in (_INLIER_PX, _OUTSIDE_PX))
    on_arc = np.abs(beyond - np.float32(_INLIER_PX**2)) <= near
    on_arc &= free & (y > cy[:, None])
    # Inside is nearer to the centre than the lower end, farther than the upper one.
    outside = beyond > far + np.float32(_OUTSIDE_PX**2) if inward < 0 else beyond < np.float32(_OUTSIDE_PX**2) - far
    score = _score(on_arc, outside)
    best = int(np.argmax(score))
    chosen = on_arc[best]
    if chosen.sum() < min_inliers or score[best] <= 0:
        return None
    seen = columns[chosen]
    fitted = float(np.mean(np.hypot(x[chosen] - cx[best], y[chosen] - cy[best])))
    return Arc(float(cx[best]), float(cy[best]), fitted, int(seen.min()), int(seen.max()), int(chosen.sum()))


def _product(trials: list[np.ndarray], points: list[np.ndarray]) -> np.ndarray:
    """(trials, N) sum of products of each trial's and each point's terms; single precision is 0.01 px."""
    return np.stack(trials, 1).astype(np.float32) @ np.stack(points).astype(np.float32)


def _score(on_edge: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(trials,) how much speaks for each trial: the points on it, less those outside with their weight."""
    on, out = (
        cv2.reduce(marks.view(np.uint8), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] for marks in (on_edge, outside)
    )
    return on - _OUTSIDE_WEIGHT * out


def _pairs(usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    anchors = _anchors(usable)
    first, second = (anchors[places] for places in np.triu_indices(len(anchors), 1))
    apart = second - first >= max(len(usable) // 10, 2)
    if not apart.any():
        return anchors[:1], anchors[-1:]
    return first[apart], second[apart]


def _triples(usable: np.ndarray) -> np.ndarray:
    """(T, 3) evenly spaced triples of every width, so that a short arc among other edges is tried too."""
    anchors = _anchors(usable, 2 * _ANCHORS)
    return anchors[_spaced_triples(len(anchors))]


@cache
def _spaced_triples(count: int) -> np.ndarray:
    found = [(i, i + step, i + 2 * step) for step in range(2, (count - 1) // 2 + 1) for i in range(count - 2 * step)]
    return np.array(found or [(0, count // 2, count - 1)])


def _anchors(usable: np.ndarray, count: int = _ANCHORS) -> np.ndarray:
    return usable[np.unique(np.linspace(0, len(usable) - 1, count).astype(int))]


def _circles(x: np.ndarray, y: np.ndarray, triples: np.ndarray, max_radius: float) -> tuple[np.ndarray, ...]:
    """Circles through triples of points: (T,) centre x, centre y, radius; only those with the centre above."""
    (x1, x2, x3), (y1, y2, y3) = x[triples].T, y[triples].T
    # Twice the signed area; on a straight line the circle has no centre, and a tiny bend stands in for none.
    area = 2 * (x1 * (y2 - y3) + x2 * (y3 - y1) + x3 * (y1 - y2))
    area = np.where(np.abs(area) < 1e-3, -1e-3, area)
    s1, s2, s3 = x1**2 + y1**2, x2**2 + y2**2, x3**2 + y3**2
    cx = (s1 * (y2 - y3) + s2 * (y3 - y1) + s3 * (y1 - y2)) / area
    cy = (s1 * (x3 - x2) + s2 * (x1 - x3) + s3 * (x2 - x1)) / area
    radius = np.hypot(x1 - cx, y1 - cy)
    keep = (cy < np.minimum(np.minimum(y1, y2), y3)) & (radius > _MIN_RADIUS) & (radius <= max_radius)
    return cx[keep], cy[keep], radius[keep]
