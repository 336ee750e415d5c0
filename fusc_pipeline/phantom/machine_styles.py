"""Ultrasound machines: how each shapes its fan, maps echoes to grey and lays out its screen; and the fan's geometry.

What they look like is taken from public Voluson E8 and E6 frames; the numbers are presets, not measurements.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Machine:
    """A scanner. Angles in degrees, sizes in pixels, dynamic range in decibels; `looks`: compounded pictures."""

    manufacturer: str
    model: str
    layout: str  # which screen `furniture` draws: voluson, philips, export or aloka
    probe: str
    size: tuple[int, int]  # (height, width)
    half_angle: float
    dynamic_range: float
    gamma: float
    looks: int
    grain: float  # point-spread widths relative to 1
    window: tuple[float, float, float, float]  # picture area as shares of the screen: left, top, right, bottom
    radius_cm: float = 5.0  # of the probe's convex face
    gain_db: float = 0.0

    @property
    def name(self) -> str:
        """Manufacturer and model."""
        return f"{self.manufacturer} {self.model}"


_GE = ("GE Healthcare", (0.002, 0.098, 0.984, 0.998))
MACHINES: tuple[Machine, ...] = (
    Machine(_GE[0], "Voluson E8", "voluson", "AB2-7-D/OB", (600, 800), 35, 47, 1.6, 2, 1.0, _GE[1]),
    Machine(_GE[0], "Voluson E10", "voluson", "C2-9-D/OB", (600, 800), 38, 50, 1.6, 3, 0.9, _GE[1]),
    Machine(_GE[0], "Voluson S10", "voluson", "4C-RS/OB", (720, 960), 34, 46, 1.6, 2, 1.1, _GE[1]),
    Machine(_GE[0], "Voluson P8", "voluson", "4C-RS/OB", (600, 800), 33, 44, 1.6, 1, 1.15, _GE[1]),
    Machine("Philips", "iU22", "philips", "C5-1", (600, 800), 36, 49, 1.55, 3, 0.95, (0.11, 0.115, 0.93, 0.985)),
)

# Screens as FETAL_PLANES_DB holds them: exports without header or name, another grey scale, grain and geometry. No
# phantom of MACHINES looks like these.
EXTERNAL_MACHINES: tuple[Machine, ...] = (
    Machine("GE", "Voluson E6", "export", "", (660, 960), 41, 55, 1.5, 4, 1.45, (0.03, 0.0, 1, 1), 4.0, 1.0),
    Machine("GE", "Voluson S10", "export", "", (540, 784), 45, 56, 1.9, 1, 1.3, (0.03, 0.0, 1, 1), 6.0, 1.0),
    Machine("Hitachi", "Aloka", "aloka", "", (448, 740), 31, 56, 1.55, 1, 1.7, (0.02, 0.0, 1, 0.98), 6.5, 1.5),
)
EXTERNAL_SHARES = (0.45, 0.25, 0.3)


def endocavity(machine: Machine) -> Machine:
    """The machine with a probe for the vagina: a small round face, a very wide sector."""
    return replace(machine, half_angle=58, radius_cm=1.2)


@dataclass(frozen=True)
class Fan:
    """A sector's part inside the picture window, in screen pixels; angles in radians from straight down."""

    apex: tuple[float, float]
    half_angle: float
    r0: float
    r1: float
    window: tuple[int, int, int, int]  # x0, y0, x1, y1
    size: tuple[int, int]
    zoom: float

    def polar(self, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Radius (screen pixels) and angle of every `step`-th pixel, two (H/step, W/step) float32 maps.

        At step 1 they are computed at half the resolution and interpolated: as good, and twice as fast.
        """
        coarse, start = (2, 0.5) if step == 1 else (step, 0.0)
        x = np.arange(start, self.size[1], coarse, dtype=np.float32)[None] - np.float32(self.apex[0])
        y = np.arange(start, self.size[0], coarse, dtype=np.float32)[:, None] - np.float32(self.apex[1])
        shape = (y.shape[0], x.shape[1])
        # The angle's zero is straight down: y takes the place of x.
        radius: np.ndarray
        angle: np.ndarray
        radius, angle = cv2.cartToPolar(np.broadcast_to(y, shape).copy(), np.broadcast_to(x, shape).copy())
        angle = np.where(angle > np.pi, angle - np.float32(2 * np.pi), angle)
        if step == 1:
            radius, angle = (cv2.resize(m, self.size[::-1], interpolation=cv2.INTER_LINEAR) for m in (radius, angle))
        return radius, angle

    def mask(self, radius: np.ndarray, angle: np.ndarray, step: int = 1) -> np.ndarray:
        """Pixels of `polar`'s grid that show the picture, bool."""
        inside = (radius >= self.r0) & (radius <= self.r1) & (np.abs(angle) <= self.half_angle)
        x0, y0, x1, y1 = (int(np.ceil(edge / step)) for edge in self.window)
        framed = np.zeros_like(inside)
        framed[y0:y1, x0:x1] = inside[y0:y1, x0:x1]
        return framed


P_UNDER_SETTINGS = 0.12
"""How often a zoomed picture may run under the settings at the top right, as it does on some public frames."""


def choose_fan(machine: Machine, rng: np.random.Generator, depth_cm: float) -> Fan:
    """A whole sector in about a third of the frames; otherwise zoomed, so that the picture window cuts it."""
    if rng.random() < 0.35:
        return _sector(machine, rng, depth_cm)
    anywhere = rng.random() < P_UNDER_SETTINGS
    for _ in range(12):
        fan = _zoomed(_sector(machine, rng, depth_cm), rng)
        if anywhere or machine.layout != "voluson" or not _reaches_settings(fan):
            break
    return fan


def _sector(machine: Machine, rng: np.random.Generator, depth_cm: float) -> Fan:
    """The whole sector, as large as the window lets it be."""
    height, width = machine.size
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(machine.window, (width, height) * 2, strict=True))
    half = np.deg2rad(machine.half_angle * rng.uniform(0.94, 1.04))
    curvature = machine.radius_cm / depth_cm
    tall, wide = (y1 - y0) * rng.uniform(0.95, 1.0), (x1 - x0) * rng.uniform(0.97, 1.0)
    depth = min(tall / (1 + curvature * (1 - np.cos(half))), wide / (2 * (1 + curvature) * np.sin(half)))
    r0, r1 = curvature * depth, (1 + curvature) * depth
    apex = (float((x0 + x1) / 2), float(y0 - r0 * np.cos(half) + 2))
    return Fan(apex, float(half), float(r0), float(r1), (x0, y0, x1, y1), machine.size, 1.0)


def _zoomed(fan: Fan, rng: np.random.Generator) -> Fan:
    """The sector enlarged about a point near its middle, which moves to the window's middle."""
    zoom = float(rng.uniform(1.1, 1.6))
    deep = fan.r0 + (fan.r1 - fan.r0) * rng.uniform(0.4, 0.58)
    aside = rng.normal(0, 0.12) * fan.half_angle
    focus = (fan.apex[0] + deep * np.sin(aside), fan.apex[1] + deep * np.cos(aside))
    x0, y0, x1, y1 = fan.window
    apex_x = (x0 + x1) / 2 + zoom * (fan.apex[0] - focus[0])
    apex_y = (y0 + y1) / 2 + zoom * (fan.apex[1] - focus[1])
    return replace(fan, apex=(float(apex_x), float(apex_y)), r0=fan.r0 * zoom, r1=fan.r1 * zoom, zoom=zoom)


def _reaches_settings(fan: Fan) -> bool:
    """Whether the fan's right edge comes under the text at the top right."""
    height, width = fan.size
    return fan.apex[0] + (0.26 * height - fan.apex[1]) * np.tan(fan.half_angle) > 0.9 * width
