"""The outline of a fan from its support: two sides and two ends where they can be seen, the convex hull elsewhere.

Single edges are fitted in `edges`; nothing here looks at grey levels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.scans.edges import Arc, Side, apex_of, fit_arc, fit_side, mirrored
from fusc_pipeline.scans.frames import Box, NoFan

_ARC_POINTS = 96
# Polygons reach this far over the picture's border, so that rounding cannot leave a seam there.
_OVER = 8.0
# What lies within about 4 pixels, by steps of 0.955 to a neighbour and 1.3693 to a diagonal one.
_NEAR = np.array(
    [[0.955 * abs(abs(x) - abs(y)) + 1.3693 * min(abs(x), abs(y)) <= 4 for x in range(-4, 5)] for y in range(-4, 5)],
    np.uint8,
)
# Sides with less slope than this count as upright.
_UPRIGHT = 0.1

Point = tuple[float, float]


@dataclass
class Outline:
    """The fitted outline in the coordinates of the analysed picture; a missing edge is None.

    support: what is lit; reach: the same and the faint specks around it. window: where the screen cuts the image
    straight, else the picture's border.
    """

    support: np.ndarray
    reach: np.ndarray
    window: Box
    cut_above: bool
    left: Side | None
    right: Side | None
    upper: Arc | None
    lower: Arc | None

    @classmethod
    def fit(cls, support: np.ndarray, faint: np.ndarray, between: tuple[int, int]) -> "Outline":
        """The outline of a support and of the faint specks around it, both (H, W) uint8 0 or 1.

        between: first and last (exclusive) row that no bar of the screen covers.
        """
        height, width = support.shape
        reach = support | faint
        rows = np.flatnonzero(reach.any(1))
        columns = np.flatnonzero(reach.any(0))
        first = reach[rows].argmax(1)
        last = width - 1 - reach[rows, ::-1].argmax(1)
        # Along rows, which is much faster.
        upright, upright_support = cv2.transpose(reach), cv2.transpose(support)
        highest = np.where(upright_support.any(1), upright_support.argmax(1), upright.argmax(1))[columns]
        lowest = height - 1 - upright[columns, ::-1].argmax(1)
        enough = max(10, round(0.12 * len(rows)))
        left = fit_side(rows, first, _not_cut(first, first.min(), width), +1, enough)
        right = fit_side(rows, last, _not_cut(last, last.max(), width), -1, enough)
        if faint.any():
            # Sparse specks line up along an upright only where the screen cuts them or by chance.
            left, right = (side if side and abs(side.slope) >= _UPRIGHT else None for side in (left, right))
        centre = apex_of(left, right, int(rows[0])) if left and right else None

        def end(
            edge: np.ndarray, extreme: int, inward: int, share: float, limit: float, about: Point | None
        ) -> Arc | None:
            free = _not_cut(edge, extreme, height) & _off_sides(columns, edge, left, right)
            return fit_arc(columns, edge, free, inward, max(8, round(share * len(columns))), limit, about)

        lower = end(lowest, lowest.max(), -1, 0.35 if centre else 0.15, 1e4, None)
        if centre is not None:
            # Two sides and a common centre agree better than a free circle, unless one "side" is a shadow's edge.
            about_apex = end(lowest, lowest.max(), -1, 0.06, 1e4, centre)
            if about_apex and (lower is None or about_apex.inliers >= 0.7 * lower.inliers):
                lower = about_apex
        upper = end(highest, highest.min(), +1, 0.06, 1.5 * width, centre)
        if upper is not None and centre is None and not _is_probe(upper, int(rows[0]), width):
            upper = None
        left, right = _agreeing_sides(left, right, lower, reach)
        # Where a slanted side was seen, a short straight run beside it can only be the screen's.
        window = (
            int(first.min()) if _is_cut(first, first.min(), 0.07 if left else 0.15) else 0,
            # The image is brightest at the probe: nothing is supposed above what is lit, where names are written.
            int(rows[0]),
            int(last.max()) + 1 if _is_cut(last, last.max(), 0.07 if right else 0.15) else width,
            int(lowest.max()) + 1 if _is_cut(lowest, lowest.max()) else between[1],
        )
        cut_above = bool(rows[0] <= between[0] + 1 or _is_cut(highest, highest.min()))
        return cls(support, reach, window, cut_above, left, right, upper, lower)

    @property
    def is_whole(self) -> bool:
        """Whether both sides and the lower end were fitted, so that no hull stands in for any of them."""
        return self.left is not None and self.right is not None and self.lower is not None

    def draw(self, shape: tuple[int, int], scale: float) -> tuple[np.ndarray, str]:
        """uint8 mask (0 or 255) at the full size, and the kind of fan."""
        polygon = cv2.convexHull(self._points().astype(np.float32))[:, 0]
        mask = _filled(polygon, shape, scale)
        height, width = self.support.shape
        for side, edge in ((self.left, width + _OVER), (self.right, -_OVER)):
            if side is not None:
                half = [
                    (side.x_at(-_OVER), -_OVER),
                    (side.x_at(height + _OVER), height + _OVER),
                    (edge, height + _OVER),
                    (edge, -_OVER),
                ]
                mask &= _filled(np.array(half), shape, scale)
        if self.lower is not None:
            mask &= _filled(self._under(self.lower, -_OVER), shape, scale)
        if self.upper is not None:
            mask &= ~_filled(self._under(self.upper, -_OVER), shape, scale)
        x0, y0, x1, y1 = self.window
        window = np.zeros_like(mask)
        window[round(y0 / scale) : round(y1 / scale), round(x0 / scale) : round(x1 / scale)] = 255
        mask &= window
        if not mask.any():
            raise NoFan("its edges contradict each other")
        if self.upper is not None:
            # Taking the probe's disc away is the one step that can leave two pieces.
            mask = _largest_piece(mask)
        if self.left is None or self.right is None:
            return mask, "cut"
        return mask, "sector" if self.lower is not None and self.lower.radius < 4 * width else "trapezoid"

    def _under(self, arc: Arc, edge_y: float) -> np.ndarray:
        """The area between row `edge_y` and the arc, over the whole width, as a polygon."""
        width = self.support.shape[1]
        x = np.linspace(-_OVER, width + _OVER, 4 * _ARC_POINTS)
        return np.vstack([np.column_stack([x, arc.y_at(x)]), [(width + _OVER, edge_y), (-_OVER, edge_y)]])

    def _points(self) -> np.ndarray:
        """(N, 2) points whose hull is the fan: the support's, and each fitted edge as far as it can be trusted."""
        contours, _ = cv2.findContours(self.reach, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        points = [np.concatenate(contours)[:, 0].astype(float)]
        rows = np.flatnonzero(self.reach.any(1))
        height, width = self.support.shape
        for side in (self.left, self.right):
            if side is None:
                continue
            upper = self._meet(side, self.upper, rows[0]) if self.upper is not None else None
            lower = self._meet(side, self.lower, rows[-1]) if self.lower is not None else None
            if upper is None:
                upper = float(rows[0] if self.cut_above else side.first)
            if lower is None:
                lower = float(rows[-1] if rows[-1] >= height - 2 or self._flat(rows[-1]) else side.last)
            points.append(np.array([(side.x_at(y), y) for y in (upper, lower)]))
        if self.lower is not None:
            start = self._meet_x(self.left, self.lower, 0.0, rows[-1])
            stop = self._meet_x(self.right, self.lower, width - 1.0, rows[-1])
            x = np.linspace(start, stop, _ARC_POINTS)
            points.append(np.column_stack([x, self.lower.y_at(x)]))
        return np.vstack(points)

    def _flat(self, row: int) -> bool:
        """Whether the support ends in this row along a straight cut."""
        return bool(np.count_nonzero(self.reach[row]) > 0.35 * np.count_nonzero(self.reach.any(0)))

    def _meet_x(self, side: Side | None, arc: Arc, border: float, guess: float) -> float:
        """Column where an end meets a side, or, without that side, where the end was last seen towards the border."""
        if side is not None:
            meeting = self._meet(side, arc, guess)
            if meeting is not None:
                return float(side.x_at(meeting))
        return float(arc.first if border == 0 else arc.last)

    @staticmethod
    def _meet(side: Side, arc: Arc, guess: float) -> float | None:
        """Row where the side crosses the arc's circle below its centre (of two, the nearer to `guess`), or None."""
        # (a y + b - cx)^2 + (y - cy)^2 = r^2
        shift = side.offset - arc.cx
        a, b, c = side.slope**2 + 1, 2 * (side.slope * shift - arc.cy), shift**2 + arc.cy**2 - arc.radius**2
        under_root = b * b - 4 * a * c
        if under_root < 0:
            return None
        roots = [(-b + sign * under_root**0.5) / (2 * a) for sign in (1, -1)]
        roots = [y for y in roots if y > arc.cy]
        return min(roots, key=lambda y: abs(y - guess)) if roots else None

    def confidence(self, mask: np.ndarray) -> float:
        """0 to 1: share of the outline that was seen; less where little of the inside is lit or much lies outside."""
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        edge = max(contours, key=len)[:, 0]
        x, y = edge.T
        x0, y0, x1, y1 = self.window
        at_border = (x <= x0 + 1) | (x >= x1 - 2) | (y <= y0 + 1) | (y >= y1 - 2)
        near_support = cv2.dilate(self.reach, _NEAR)[y, x] > 0
        seen = float(np.mean(at_border | near_support))
        lit = float(self.support[mask].mean())
        outside = int(np.count_nonzero(self.support[~mask])) / max(int(np.count_nonzero(self.support)), 1)
        return round(seen * min(1.0, lit / 0.5) * max(0.0, 1.0 - 3.0 * outside), 4)


def _off_sides(x: np.ndarray, y: np.ndarray, left: Side | None, right: Side | None) -> np.ndarray:
    """(N,) False for points on a side, which the end of the fan does not pass through but at its corner."""
    on_a_side = [np.abs(x - side.x_at(y)) < 4 for side in (left, right) if side is not None]
    return ~np.logical_or.reduce(on_a_side) if on_a_side else np.ones(len(x), bool)


def _agreeing_sides(
    left: Side | None, right: Side | None, lower: Arc | None, support: np.ndarray
) -> tuple[Side | None, Side | None]:
    """The sides, one of them mirrored from the other where it is missing or was fitted to a shadow's edge.

    Only in a sector, where a true side points at the centre of the lower end, and only when next to nothing that is lit
    lies outside the mirrored side.
    """
    if lower is None:
        return left, right
    pointing = [side for side in (left, right) if side is not None and abs(float(side.x_at(lower.cy)) - lower.cx) <= 6]
    if len(pointing) != 1 or abs(pointing[0].slope) < 0.1:
        return left, right
    other = mirrored(pointing[0], lower.cx)
    y, x = np.nonzero(support)
    outside = (x - other.x_at(y)) * np.sign(-other.slope) < -2
    if outside.mean() > 0.002:
        return left, right
    return (left, other) if pointing[0] is left else (other, right)


def _is_probe(arc: Arc, first_row: int, width: int) -> bool:
    """Whether an arc at the top may be a probe without sides to confirm it: small, whole, its centre above the image.

    The round top of a dark vessel or cyst that the screen cuts looks alike but is larger or broken.
    """
    whole = arc.inliers >= 0.8 * (arc.last - arc.first + 1)
    return whole and arc.radius < 0.15 * width and arc.cy < first_row + 3


def _is_cut(edge: np.ndarray, extreme: int, run: float = 0.15) -> bool:
    """Whether an edge runs straight along its outermost row or column for long: there the screen cuts the image.

    run: the share of the edge that must lie in that very row or column. A round end touches its outermost row for
    long too: a circle as wide as the picture stays within half a pixel of it for 0.1 of its width, and within one and a
    half for 0.18.
    """
    away = np.abs(edge - extreme)
    return bool((away == 0).mean() > run or (away <= 1).mean() > 0.3)


def _not_cut(edge: np.ndarray, extreme: int, size: int) -> np.ndarray:
    """(N,) False for the points of an edge that are where the screen or the picture's border (at `size`) cuts it."""
    cut = extreme <= 1 or extreme >= size - 2 or _is_cut(edge, extreme)
    return np.abs(edge - extreme) > 1 if cut else np.ones(len(edge), bool)


def _filled(polygon: np.ndarray, shape: tuple[int, int], scale: float) -> np.ndarray:
    """A polygon in analysed coordinates, filled at full size (uint8 0 or 255); pixel centres map to pixel centres."""
    shift = 4
    full = (np.asarray(polygon, float) + 0.5) / scale - 0.5
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(full * (1 << shift)).astype(np.int32)], 255, shift=shift)
    return mask


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """The mask, or its largest piece where it has several."""
    count, labels = cv2.connectedComponents(mask, connectivity=4, ltype=cv2.CV_16U)
    if count <= 2:
        return mask
    areas = np.bincount(labels.ravel())
    return (labels == 1 + int(np.argmax(areas[1:]))).astype(np.uint8) * np.uint8(255)
