"""A drawing surface in anatomy units: what scatters (echo), what mirrors (interface) and what casts shadows (bone).

Knows shapes and poses, nothing of anatomy or of ultrasound. One unit is about a tenth of the picture's height.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fusc_pipeline.phantom.shapes import Plane, Shape

SUBPIXEL_BITS = 3


@dataclass(frozen=True)
class Pose:
    """Where the anatomy's origin lies (canvas pixels); its turn (radians), mirroring and scale (pixels a unit)."""

    centre: tuple[float, float]
    angle: float
    scale: float
    mirror: bool = False
    squeeze: float = 1.0  # an oblique plane is longer one way

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2) anatomy units -> canvas pixels, without the shift."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        stretch = np.diag([(-1.0 if self.mirror else 1.0) * self.squeeze, 1.0 / self.squeeze])
        return self.scale * np.array([[c, -s], [s, c]]) @ stretch


class Canvas:
    """Maps being drawn, all (H, W) float32: `echo` (backscattered power), `interface` (mirror-like power), `bone`."""

    def __init__(self, echo: np.ndarray, pose: Pose):
        self.echo = echo
        self.interface = np.zeros_like(echo)
        self.bone = np.zeros_like(echo)
        self.place(pose)

    def place(self, pose: Pose) -> None:
        """Set the pose of everything drawn from now on."""
        self.pose = pose
        self._matrix = pose.matrix

    def draw(self, plane: Plane) -> None:
        """Paint a plane's shapes, lowest layer first."""
        for shape in sorted(plane.values(), key=lambda s: s.layer):
            if shape.presence <= 0.05:
                continue
            if shape.width is None:
                self._fill(shape)
            else:
                self._stroke(shape)

    def _fill(self, shape: Shape) -> None:
        """Tissue of this power; by `presence` on a log scale: a structure half in the plane is half as clear."""
        corners = self._pixels(shape.points)
        height, width = self.echo.shape
        x0, y0 = np.clip((corners.min(0) >> SUBPIXEL_BITS) - 1, 0, (width, height))
        x1, y1 = np.clip((corners.max(0) >> SUBPIXEL_BITS) + 2, 0, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillPoly(mask, [corners - (np.array([x0, y0]) << SUBPIXEL_BITS)], 1, cv2.LINE_8, SUBPIXEL_BITS)
        inside = mask.astype(bool)
        echo, interface, bone = (m[y0:y1, x0:x1] for m in (self.echo, self.interface, self.bone))
        if shape.presence >= 0.95:
            echo[inside] = shape.power
        else:
            echo[inside] = echo[inside] ** (1 - shape.presence) * shape.power**shape.presence
        interface[inside] *= 1 - min(1.0, shape.presence)
        bone[inside] *= 1 - min(1.0, shape.presence)

    def _stroke(self, shape: Shape) -> None:
        """An interface `width` units thick; `shadow` is how much sound it stops (thin bone 0.3, thick bone 1)."""
        assert shape.width is not None  # of a line
        thickness = max(1, round(shape.width * self.pose.scale))
        path = [self._pixels(shape.points)]
        cv2.polylines(
            self.interface, path, shape.closed, shape.power * shape.presence**2, thickness, cv2.LINE_8, SUBPIXEL_BITS
        )
        if shape.shadow:
            cv2.polylines(
                self.bone, path, shape.closed, shape.shadow * shape.presence, thickness, cv2.LINE_8, SUBPIXEL_BITS
            )

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        placed = np.asarray(points, float) @ self._matrix.T + self.pose.centre
        return np.round(placed * (1 << SUBPIXEL_BITS)).astype(np.int32)
