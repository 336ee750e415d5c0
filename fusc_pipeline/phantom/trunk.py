"""Planes through the belly: Abdomen, Kidney, Cord Insertion (across) and Diaphragm (along). One trunk, other organs."""

import numpy as np

from fusc_pipeline.phantom.heart import spine_triplet
from fusc_pipeline.phantom.shapes import (
    BLOOD,
    BODY,
    BONE,
    BRIGHT,
    CAVITY,
    FAT,
    FLUID,
    LIVER,
    LUNG,
    MUSCLE,
    WALL,
    Plane,
    curve,
    ellipse,
    jitter,
    line,
    region,
    tube,
)


def plane(view: str, rng: np.random.Generator) -> Plane:
    """One belly plane with this fetus's jitter."""
    cuts = {"Abdomen": _abdomen, "Kidney": _kidneys, "Cord Insertion": _cord_insertion, "Diaphragm": _diaphragm}
    return cuts[view](rng)


def _trunk(rng: np.random.Generator) -> Plane:
    """Skin, muscle, filling, spine at +y and the great vessels before it."""
    rx, ry, phase = 3.3 * jitter(rng), 3.1 * jitter(rng), rng.uniform(0, 6)
    return {
        "wall": region(ellipse((0, 0), rx, ry, wobble=0.025, phase=phase), MUSCLE, BODY),
        "filling": region(
            ellipse((0, 0), rx - 0.3, ry - 0.3, wobble=0.025, phase=phase), LIVER * jitter(rng, 0.2), BODY
        ),
        "skin": line(ellipse((0, 0), rx, ry, wobble=0.025, phase=phase), WALL * 1.2, 0.11, closed=True),
        "aorta": region(ellipse((-0.45, 1.35), 0.2 * jitter(rng), 0.2), BLOOD, CAVITY),
        "vena cava": region(ellipse((0.5, 1.0), 0.22 * jitter(rng), 0.17), BLOOD, CAVITY),
    } | spine_triplet((0, ry - 0.85), rng)


def _abdomen(rng: np.random.Generator) -> Plane:
    """Stomach on the left, the umbilical vein's hook in the liver, ribs at the sides."""
    shapes = _trunk(rng)
    vein = tube([(0.1, -2.2), (0.15, -1.3), (0.5, -0.6), (1.2, -0.35)], np.linspace(0.2, 0.3, 48) * jitter(rng, 0.12))
    bubble = ellipse(
        (-1.5, 0.15), 1.0 * jitter(rng, 0.15), 0.65 * jitter(rng, 0.15), turn=rng.uniform(-40, 40), wobble=0.1
    )
    shapes |= {
        "stomach": region(bubble, FLUID, CAVITY),
        "stomach wall": line(bubble, WALL * 0.5, 0.07, closed=True),
        "umbilical vein": region(vein, BLOOD, CAVITY),
        "umbilical vein wall": line(vein, WALL * 0.8, 0.06, closed=True),
    }
    for k, start in enumerate((10, 150, 195, 330)):
        begin = start + rng.normal(0, 6)
        shapes[f"rib {k}"] = line(
            ellipse((0, 0), 3.1, 2.9, start=begin, stop=begin + 20), BONE * 0.4, 0.14, shadow=0.35
        )
    return shapes


def _kidneys(rng: np.random.Generator) -> Plane:
    """Two dark ovals beside the spine, each with a bright rim and a small black pelvis; bowel before them."""
    shapes = _trunk(rng)
    for side, name in ((-1, "right"), (1, "left")):
        at = (side * 1.3 * jitter(rng, 0.06), 1.05)
        size = jitter(rng, 0.1)
        capsule = ellipse(at, 0.86 * size, 0.68 * size, turn=side * 25, wobble=0.04)
        shapes[f"kidney {name}"] = region(capsule, 0.05, CAVITY)
        shapes[f"capsule {name}"] = line(capsule, WALL * 1.2, 0.1, closed=True)
        pelvis = ellipse((side * 1.1, 1.02), 0.3 * jitter(rng, 0.2), 0.17, turn=side * 25)
        shapes[f"pelvis {name}"] = region(pelvis, FLUID, CAVITY)
        shapes[f"sinus {name}"] = line(ellipse((side * 1.1, 1.02), 0.4, 0.26, turn=side * 25), WALL, 0.08, closed=True)
    for k in range(4):
        at = (rng.uniform(-1.5, 1.5), rng.uniform(-1.9, -0.6))
        shapes[f"bowel {k}"] = region(ellipse(at, 0.5, 0.35, turn=rng.uniform(0, 180), wobble=0.1), FAT * 0.9)
    return shapes


def _cord_insertion(rng: np.random.Generator) -> Plane:
    """The cord leaves the front wall: two arteries wound round the vein."""
    shapes = _trunk(rng)
    t = np.linspace(0, 1, 48)
    lean, length = rng.uniform(-1.6, 1.6), rng.uniform(2.3, 3.2)
    middle = np.stack([lean * t**1.5, -2.9 - length * t], 1)
    phase, turns = rng.uniform(0, 6), rng.uniform(7, 11)
    # There is always a pool of fluid where the cord can be seen to enter.
    pool = region(ellipse((lean * 0.4, -4.2), 3.2 * jitter(rng), 2.2 * jitter(rng), wobble=0.08), FLUID, BODY)
    shapes = {"pool": pool, **shapes}
    shapes["cord"] = region(tube(middle, 0.55), 0.12, BODY)
    shapes["cord vein"] = region(
        tube(middle + np.stack([0.1 * np.sin(turns * t + phase), 0 * t], 1), 0.2), BLOOD, CAVITY
    )
    for k in range(2):
        wave = 0.4 * np.sin(turns * t + phase + np.pi * (k + 0.5))
        shapes[f"cord artery {k}"] = line(middle + np.stack([wave, 0 * t], 1), WALL * 1.8, 0.15)
    shapes["cord root"] = region(curve([(-0.75, -2.75), (0, -3.3), (0.75, -2.75), (0, -2.3)], True), FAT)
    shapes["vein inside"] = region(tube([(0, -3.0), (0.05, -2.2), (0.2, -1.4)], 0.2), BLOOD, CAVITY)
    shapes["vein inside wall"] = line(tube([(0, -3.0), (0.05, -2.2), (0.2, -1.4)], 0.22), WALL, 0.07)
    for k in range(3):
        at = (rng.uniform(-1.6, 1.6), rng.uniform(-1.2, 0.7))
        shapes[f"bowel {k}"] = region(ellipse(at, 0.55, 0.4, turn=rng.uniform(0, 180), wobble=0.1), FAT * 0.8)
    return shapes


def _diaphragm(rng: np.random.Generator) -> Plane:
    """The trunk cut along: lung above, a thin dark dome, liver and stomach below, heart over the dome."""
    dome_at = rng.normal(0, 0.2)
    dome = ellipse((dome_at - 1.15, 0), 1.5 * jitter(rng), 2.1, start=-80, stop=80)
    body = curve(
        [(-4.6, -1.7), (-1.5, -2.15), (1.5, -2.35), (4.6, -2.1), (4.6, 2.0), (1.5, 2.25), (-1.5, 2.1), (-4.6, 1.6)],
        True,
    )
    shapes: Plane = {
        "wall": region(body, MUSCLE, BODY),
        "filling": region(body * (0.98, 0.88), LIVER * 0.8 * jitter(rng, 0.2), BODY),
        "lung": region(np.concatenate([dome, [(-4.3, 1.5), (-4.3, -1.5)]]), LUNG * 2.6, BODY),
        "heart": region(ellipse((-1.6, -0.5), 1.0, 0.8 * jitter(rng), turn=20), 0.2, CAVITY),
        "heart cavity": region(ellipse((-1.6, -0.5), 0.55, 0.35 * jitter(rng), turn=20), BLOOD, CAVITY),
        "dome muscle": region(tube(dome[::6] + np.array([0.1, 0]), 0.13), FLUID * 3, CAVITY),
        "dome edge": line(dome + np.array([0.3, 0]), WALL * 1.8, 0.1),
        "stomach": region(
            ellipse((1.3, -0.75), 0.75 * jitter(rng, 0.15), 0.48 * jitter(rng, 0.15), wobble=0.1), FLUID, CAVITY
        ),
        "bladder": region(ellipse((3.6, -0.4), 0.5 * jitter(rng, 0.2), 0.42), FLUID, CAVITY),
        "skin near": line(curve([(-4.6, -1.7), (-1.5, -2.15), (1.5, -2.35), (4.6, -2.1)]), WALL * 1.2, 0.11),
        "skin far": line(curve([(4.6, 2.0), (1.5, 2.25), (-1.5, 2.1), (-4.6, 1.6)]), WALL * 1.2, 0.11),
    }
    for k in range(5):  # ribs cut across, in a row under the far skin
        at = (-4.0 + 0.85 * k + rng.normal(0, 0.05), 1.62)
        shapes[f"rib {k}"] = line(ellipse(at, 0.1, 0.07), BRIGHT * 1.6, 0.16, shadow=0.35, closed=True)
    return shapes
