"""What lies around the fetal part: maternal tissue, the womb's fluid, placenta, stray limbs and loops of cord.

All of it is nuisance: drawn by chance, the same for every view.
"""

import cv2
import numpy as np

from fusc_pipeline.phantom.shapes import BLOOD, BONE, FAT, FLUID, MUSCLE, WALL, Plane, ellipse, line, region


def tissue_texture(shape: tuple[int, int], rng: np.random.Generator, strength: float) -> np.ndarray:
    """(H, W) float32 factors around 1: patchy tissue at three scales."""
    height, width = shape
    log_power = np.zeros(shape, np.float32)
    for cells, weight in ((3, 1.0), (9, 0.8), (28, 0.6)):
        grid = rng.standard_normal((cells + 1, round(cells * width / height) + 1), dtype=np.float32)
        log_power += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.exp(strength * log_power)


def surroundings(rng: np.random.Generator, placenta_angle: float) -> Plane:
    """Shapes in units around the fetal part's middle, not turned with it. placenta_angle: degrees, the subject's."""
    shapes: Plane = {}
    if rng.random() < 0.8:
        rx, ry = rng.uniform(3.6, 7.5), rng.uniform(3.2, 5.5)
        at = (rng.normal(0, 0.9), rng.normal(0, 0.7))
        cavity = ellipse(at, rx, ry, turn=rng.uniform(-30, 30), wobble=0.08, phase=rng.uniform(0, 6))
        shapes["placenta"] = region(cavity * 1.3 + rotated(0.9, placenta_angle), MUSCLE * rng.uniform(0.6, 1.1), 0)
        shapes["fluid"] = region(cavity, FLUID * rng.uniform(0.5, 2), 0)
        shapes["womb wall"] = line(cavity, WALL * rng.uniform(0.2, 0.9), 0.12, closed=True)
        for k in range(rng.integers(0, 3)):
            side = np.deg2rad(rng.uniform(0, 360))
            shapes |= _stray_part(rng, (at[0] + rx * np.cos(side), at[1] + ry * np.sin(side)), k)
    return shapes


def rotated(length: float, degrees: float) -> np.ndarray:
    """(2,) vector of this length."""
    return length * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])


def _stray_part(rng: np.random.Generator, at: tuple[float, float], k: int) -> Plane:
    """A limb cut across or along, or a loop of cord."""
    turn = rng.uniform(0, 180)
    kind = rng.integers(3)
    if kind == 0:  # limb across: soft disc, bright centre
        size = rng.uniform(0.5, 1.0)
        disc = ellipse(at, size, size * 0.85, turn, wobble=0.05)
        return {
            f"stray {k}": region(disc, MUSCLE, 0),
            f"stray skin {k}": line(disc, WALL, 0.08, closed=True),
            f"stray bone {k}": line(ellipse(at, 0.12, 0.08, turn), BONE * 0.7, 0.16, 0.6, closed=True),
        }
    if kind == 1:  # limb along
        limb = ellipse(at, rng.uniform(1.2, 2.2), 0.6, turn)
        bone = ellipse(at, 1.0, 0.02, turn, start=0, stop=180)
        return {
            f"stray {k}": region(limb, MUSCLE, 0),
            f"stray skin {k}": line(limb, WALL, 0.08, closed=True),
            f"stray bone {k}": line(bone, BONE * 0.7, 0.16, 0.7),
        }
    loops: Plane = {}
    for j, step in enumerate((-0.45, 0.0, 0.45)):
        centre = (at[0] + step * np.cos(np.deg2rad(turn)), at[1] + step * np.sin(np.deg2rad(turn)))
        loops[f"cord loop {k}.{j}"] = region(ellipse(centre, 0.24, 0.24), BLOOD, 0)
        loops[f"cord loop wall {k}.{j}"] = line(ellipse(centre, 0.24, 0.24), FAT * 2, 0.07, closed=True)
    return loops
