"""Shapes in anatomy units, and planes made of them: curves, jitter, and the morph from one plane to its neighbour.

No pixels here: `canvas` draws what these describe.
"""

from dataclasses import dataclass, replace

import numpy as np

# Backscattered power relative to soft tissue's scale; -10 log10 of it is decibels below a strong reflector.
FLUID = 6e-4
BLOOD = 1.2e-3
CARTILAGE = 0.02
BRAIN = 0.045
LUNG = 0.16
LIVER = 0.17
MUSCLE = 0.24
FAT = 0.4
WALL = 1.0
BRIGHT = 2.2
BONE = 9.0

BODY, ORGAN, CAVITY, LINE = range(4)
"""Layers, painted in this order."""

N_POINTS = 48


@dataclass(frozen=True)
class Shape:
    """A region (width None) or a line of `width` units. `presence` 0 to 1: how far it lies in the imaged plane."""

    points: np.ndarray
    power: float
    layer: int = ORGAN
    width: float | None = None
    shadow: float = 0.0
    closed: bool = False
    presence: float = 1.0


Plane = dict[str, Shape]
"""Structure name -> shape. Planes of one group use the same names for the same structures, so that they can morph."""


def region(points: np.ndarray, power: float, layer: int = ORGAN) -> Shape:
    """A filled region."""
    return Shape(resample(points, closed=True), power, layer)


def line(points: np.ndarray, power: float, width: float, shadow: float = 0.0, closed: bool = False) -> Shape:
    """An interface: a wall, a membrane, a bone's surface."""
    return Shape(resample(points, closed), power, LINE, width, shadow, closed)


def morph(own: Plane, neighbour: Plane, t: float) -> Plane:
    """The plane a share `t` (0 to 1) of the way to a neighbour: shared structures deform, others fade and shrink."""
    mixed: Plane = {}
    for name in [*own, *(n for n in neighbour if n not in own)]:
        a, b = own.get(name), neighbour.get(name)
        if a is not None and b is not None:
            points = (1 - t) * a.points + t * b.points
            power = a.power ** (1 - t) * b.power**t
            mixed[name] = replace(a, points=points, power=power)
        else:
            shape, presence = (own[name], 1 - t) if a is not None else (neighbour[name], t)
            middle = shape.points.mean(0)
            mixed[name] = replace(shape, points=middle + (shape.points - middle) * presence**0.5, presence=presence)
    return mixed


def jitter(rng: np.random.Generator, spread: float = 0.08) -> float:
    """A factor near 1, cut at 2.5 deviations: no two fetuses are alike."""
    return float(1 + np.clip(rng.normal(0, spread), -2.5 * spread, 2.5 * spread))


def ellipse(
    centre: tuple[float, float],
    rx: float,
    ry: float,
    turn: float = 0.0,
    start: float = 0.0,
    stop: float = 360.0,
    wobble: float = 0.0,
    phase: float = 0.0,
) -> np.ndarray:
    """(N, 2) points of an ellipse's arc, angles in degrees; `wobble` bends it out of round by that share."""
    t = np.deg2rad(np.linspace(start, stop, N_POINTS))
    r = 1 + wobble * np.sin(3 * t + phase) + 0.5 * wobble * np.sin(2 * t - phase)
    return rotate(np.stack([rx * r * np.cos(t), ry * r * np.sin(t)], axis=1), turn) + np.asarray(centre, float)


def rotate(points: np.ndarray, degrees: float) -> np.ndarray:
    """(N, 2) points turned about the origin."""
    a = np.deg2rad(degrees)
    return np.asarray(points, float) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def curve(points: np.ndarray | list[tuple[float, float]], closed: bool = False) -> np.ndarray:
    """(N, 2) points of a Catmull-Rom curve through the given ones."""
    p = np.asarray(points, float)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    s = np.linspace(0, len(p) - 3 - 1e-9, N_POINTS)
    k, u = s.astype(int), (s % 1)[:, None]
    a, b, c, d = p[k], p[k + 1], p[k + 2], p[k + 3]
    return 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)


def tube(points: np.ndarray | list[tuple[float, float]], radius: float | np.ndarray) -> np.ndarray:
    """Outline of a vessel of this radius (one, or one for each of N points) around a curve."""
    middle = curve(points)
    step = np.gradient(middle, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
    offset = normal * np.broadcast_to(np.asarray(radius, float), (len(middle),))[:, None]
    return np.concatenate([middle + offset, (middle - offset)[::-1]])


def resample(points: np.ndarray, closed: bool = False) -> np.ndarray:
    """The same outline with N_POINTS points, so that two outlines can be mixed point by point."""
    p = np.asarray(points, float)
    if len(p) == N_POINTS:
        return p
    p = np.concatenate([p, p[:1]]) if closed else p
    at = np.linspace(0, len(p) - 1, N_POINTS)
    return np.stack([np.interp(at, np.arange(len(p)), p[:, axis]) for axis in (0, 1)], axis=1)
