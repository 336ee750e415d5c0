"""The heart's planes, from below upwards: 4CH, LVOT, RVOT, 3VV/3VT. All are cuts through one chest.

Drawn after the ISUOG fetal heart guideline's description of the planes. The chest's middle is the origin, the spine +y.
"""

import numpy as np

from fusc_pipeline.phantom.shapes import (
    BLOOD,
    BODY,
    BONE,
    BRIGHT,
    CAVITY,
    FLUID,
    LUNG,
    MUSCLE,
    WALL,
    Plane,
    Shape,
    curve,
    ellipse,
    jitter,
    line,
    region,
    rotate,
    tube,
)

CHEST_RADII = (3.5, 3.2)


def plane(view: str, rng: np.random.Generator) -> Plane:
    """One heart plane with this fetus's jitter."""
    shapes = chest(rng)
    axis = rng.uniform(30, 62)
    at = np.array([-0.45, -0.45]) + rng.normal(0, 0.15, 2)
    for name, shape in _CUTS[view](rng).items():
        placed = rotate(shape.points * 1.22, axis) + at
        shapes[name] = Shape(placed, shape.power, shape.layer, shape.width, shape.shadow, shape.closed)
    return shapes


def chest(rng: np.random.Generator) -> Plane:
    """Chest wall, lungs, ribs, spine and descending aorta."""
    rx, ry = CHEST_RADII[0] * jitter(rng), CHEST_RADII[1] * jitter(rng)
    phase = rng.uniform(0, 6)
    shapes = {
        "wall": region(ellipse((0, 0), rx, ry, wobble=0.03, phase=phase), MUSCLE, BODY),
        "lungs": region(ellipse((0, 0), rx - 0.35, ry - 0.35, wobble=0.03, phase=phase), LUNG * jitter(rng, 0.2), BODY),
        "skin": line(ellipse((0, 0), rx, ry, wobble=0.03, phase=phase), WALL, 0.1, closed=True),
        "aorta": region(ellipse((0.75, 1.75), 0.3 * jitter(rng, 0.1), 0.28), BLOOD, CAVITY),
    }
    for k, start in enumerate((30, 62, 100, 240, 278, 310)):
        begin, length = start + rng.normal(0, 4), rng.uniform(12, 26)
        arc = ellipse((0, 0), rx - 0.22, ry - 0.22, start=begin, stop=begin + length)
        shapes[f"rib {k}"] = line(arc, BONE * 0.5, 0.16, shadow=0.5)
    return shapes | spine_triplet((0, ry - 0.75), rng)


def spine_triplet(at: tuple[float, float], rng: np.random.Generator, size: float = 1.0) -> Plane:
    """The three ossification centres of a vertebra cut across: body in front, two arches behind."""
    shapes: Plane = {}
    for k, (x, y) in enumerate(((0, -0.28), (-0.34, 0.22), (0.34, 0.22))):
        centre = (at[0] + size * x * jitter(rng), at[1] + size * y)
        shapes[f"vertebra {k}"] = line(ellipse(centre, 0.13 * size, 0.1 * size), BONE, 0.18 * size, 0.4, closed=True)
    return shapes


def _muscle(rng: np.random.Generator, grow: float = 1.0) -> Plane:
    return {
        "muscle": region(ellipse((-0.15, 0), 2.0 * grow, 1.5 * grow * jitter(rng, 0.05)), 0.3),
        "pericardium": line(ellipse((-0.15, 0), 2.0 * grow, 1.5 * grow), WALL * 0.6, 0.07, closed=True),
    }


def _chamber(rng: np.random.Generator, x: float, y: float, rx: float, ry: float) -> Shape:
    return region(
        ellipse((x, y), rx * jitter(rng), ry * jitter(rng), wobble=0.06, phase=rng.uniform(0, 6)), BLOOD, CAVITY
    )


def _four_chambers(rng: np.random.Generator) -> Plane:
    return _muscle(rng) | {
        "LV": _chamber(rng, -0.75, -0.56, 0.86, 0.42),
        "RV": _chamber(rng, -0.65, 0.56, 0.76, 0.44),
        "LA": _chamber(rng, 0.85, -0.56, 0.56, 0.46),
        "RA": _chamber(rng, 0.85, 0.58, 0.58, 0.48),
        "septum": line(np.array([(-1.7, 0), (0.1, 0)]), BRIGHT, 0.14),
        "atrial septum": line(np.array([(0.75, 0.02), (1.5, 0)]), WALL, 0.08),
        "mitral": line(curve([(0.12, -1.05), (-0.02, -0.5), (0.1, 0)]), BRIGHT * 0.7, 0.08),
        "tricuspid": line(curve([(-0.02, 0), (-0.14, 0.5), (0.02, 1.1)]), BRIGHT * 0.7, 0.08),
        "foramen flap": line(curve([(0.3, -0.02), (0.5, -0.28), (0.75, 0)]), WALL, 0.05),
    }


def _left_outflow(rng: np.random.Generator) -> Plane:
    root = tube([(-0.2, -0.5), (0.5, -0.1), (1.15, 0.42), (1.95, 0.85)], np.linspace(0.36, 0.27, 48) * jitter(rng))
    return _muscle(rng) | {
        "LV": _chamber(rng, -0.7, -0.52, 1.02, 0.42),
        "RV": _chamber(rng, -0.75, 0.62, 0.8, 0.4),
        "LA": _chamber(rng, 0.75, -0.85, 0.52, 0.36),
        "aortic root": region(root, BLOOD, CAVITY),
        "septum": line(curve([(-1.7, 0.02), (-0.3, 0.08), (0.6, 0.42), (1.2, 0.85), (1.9, 1.22)]), BRIGHT, 0.13),
        "mitral": line(curve([(-0.2, -1.0), (0.1, -0.6), (0.6, -0.42), (1.3, 0.1)]), BRIGHT * 0.7, 0.09),
        "aortic valve": line(np.array([(0.62, 0.22), (0.92, -0.12)]), BRIGHT * 0.6, 0.07),
    }


def _right_outflow(rng: np.random.Generator) -> Plane:
    trunk = tube([(-0.35, 0.75), (0.35, 0.45), (0.85, -0.35), (1.2, -1.45)], np.linspace(0.42, 0.3, 48) * jitter(rng))
    ring = ellipse((0.05, -0.45), 0.38 * jitter(rng), 0.37)
    cava = ellipse((-0.2, -1.2), 0.22 * jitter(rng), 0.22)
    return _muscle(rng, 0.92) | {
        "RV": _chamber(rng, -0.8, 0.66, 0.85, 0.4),
        "pulmonary trunk": region(trunk, BLOOD, CAVITY),
        "trunk wall": line(curve([(0.7, 0.5), (1.15, -0.2), (1.52, -1.35)]), BRIGHT * 0.7, 0.08),
        "aorta across": region(ring, BLOOD, CAVITY),
        "aorta across wall": line(ring, BRIGHT, 0.1, closed=True),
        "vena cava": region(cava, BLOOD, CAVITY),
        "vena cava wall": line(cava, WALL, 0.07, closed=True),
        "pulmonary valve": line(np.array([(0.1, 0.28), (0.6, 0.62)]), BRIGHT * 0.8, 0.07),
    }


def _three_vessels(rng: np.random.Generator) -> Plane:
    """3VV; in half of them the cut is higher (3VT) and the two arches run together into a V."""
    shapes: Plane = {
        "muscle": region(ellipse((0, 0.1), 1.75, 1.35, wobble=0.05), 0.26),
        "thymus": region(ellipse((-0.9, -0.6), 0.8, 0.5, turn=-20), 0.1),
    }
    arch = rng.random() < 0.5
    x, y = -1.05, 0.2
    for name, radius, drop in (("pulmonary trunk", 0.5, 0.0), ("aorta across", 0.38, 0.12), ("vena cava", 0.28, 0.2)):
        radius *= jitter(rng)
        y += drop
        long = radius * (1.5 if name == "pulmonary trunk" and not arch else 1.08)
        outline = ellipse((x, y), radius, long, turn=-20)
        if arch and name != "vena cava":
            outline = tube([(x, y - 0.5), (x + 0.15, y + 0.35), (0.55, 1.6)], np.linspace(radius * 0.9, 0.24, 48))
        shapes[name] = region(outline, FLUID, CAVITY)
        shapes[f"{name} wall"] = line(outline, BRIGHT * 0.9, 0.1, closed=True)
        x += 2 * radius + 0.22
    return shapes


_CUTS = {"4CH": _four_chambers, "LVOT": _left_outflow, "RVOT": _right_outflow, "3VV/3VT": _three_vessels}
