"""Views where bone is the subject: Spine (along), Femur, Feet (sole or side)."""

import numpy as np

from fusc_pipeline.phantom.shapes import (
    BODY,
    BONE,
    BRIGHT,
    CARTILAGE,
    CAVITY,
    FAT,
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
    """One view with this fetus's jitter."""
    return {"Spine": _spine, "Femur": _femur, "Feet": _foot}[view](rng)


def _spine(rng: np.random.Generator) -> Plane:
    """Rows of vertebral ossification centres under the back's skin, closing towards the sacrum's upturned end."""
    half = 5.2 * jitter(rng, 0.1)
    bend, tip, thick = rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.9), 2.6 * jitter(rng, 0.12)

    def back(x: np.ndarray | float, offset: np.ndarray | float) -> np.ndarray:
        x = np.atleast_1d(np.asarray(x, float))
        lift = bend * (1 - (x / half) ** 2) + 3 * tip * np.clip(x / half - 0.6, 0, None)
        return np.stack([x, offset - lift], 1)

    t = np.linspace(-half - 2.5, half, 48)  # the neck's end runs out of the picture, the rump is round
    skin, belly = back(t, -1.0), back(t, thick)
    rump = ellipse((half, (thick - 1.0) / 2 - 1.2 * tip), 1.1, (thick + 1.0) / 2, start=-90, stop=90)
    shapes: Plane = {
        "trunk": region(np.concatenate([skin, rump, belly[::-1]]), MUSCLE * 0.6, BODY),
        "skin": line(np.concatenate([skin, rump[:30]]), WALL * 1.3, 0.1),
        "muscle": line(back(t, -0.62), WALL * 0.6, 0.06),
        "canal": region(tube(back(np.linspace(-half - 2.5, half * 0.75, 12), 0.0), 0.2), CARTILAGE * 0.3, CAVITY),
    }
    x, k, pitch = -half - 2.3, 0, 0.54 * jitter(rng, 0.1)
    while x < half * 0.9:
        gap = 0.38 * min(1.0, (half - x) / (0.45 * half))  # rows close towards the sacrum
        for row, (side, size) in enumerate(((-1, 0.09), (1, 0.13))):
            (at,) = back(x + 0.1 * row, side * gap)
            centre = (float(at[0]), float(at[1]))
            shapes[f"centre {row} {k}"] = line(ellipse(centre, size, size * 0.5), BONE, 0.14, shadow=0.3, closed=True)
        x, k = x + pitch, k + 1
    return shapes


def _femur(rng: np.random.Generator) -> Plane:
    """One bright shaft with its shadow, dark cartilage at the ends, the thigh around it."""
    half = 2.5 * jitter(rng, 0.12)
    x = np.linspace(-half, half, 48)
    bow = rng.uniform(0.02, 0.25)
    shaft = np.stack([x, -bow * np.cos(x / half * 1.5)], 1)
    thigh = curve(
        [
            (-half - 1.2, -1.0),
            (0, -1.25),
            (half + 0.9, -0.85),
            (half + 1.3, 0.2),
            (half + 0.8, 1.1),
            (0, 1.45),
            (-half - 1.2, 1.4),
        ],
        True,
    )
    return {
        "thigh": region(thigh * (1, jitter(rng, 0.12)), MUSCLE * 0.9, BODY),
        "skin": line(curve([(-half - 1.2, -1.0), (0, -1.25), (half + 0.9, -0.85), (half + 1.3, 0.2)]), WALL, 0.1),
        "head": region(ellipse((-half - 0.3, 0.1), 0.42, 0.4), CARTILAGE, CAVITY),
        "condyle": region(ellipse((half + 0.35, 0.1), 0.48, 0.45), CARTILAGE, CAVITY),
        "fascia": line(np.stack([x, -0.75 + 0.1 * np.cos(x)], 1), WALL * 0.5, 0.06),
        "shaft": line(shaft, BONE * 1.6, 0.32, shadow=1.0),
    }


def _foot(rng: np.random.Generator) -> Plane:
    """The sole with five toes and the metatarsals' rays; sometimes with the lower leg's two bones behind the heel."""
    sole = curve(
        np.array(
            [
                *[(-2.4, 0.65), (-2.75, 0.0), (-2.35, -0.65), (-1.2, -0.6), (0.3, -0.75), (1.6, -1.05)],  # heel to toes
                *[(2.1, -0.5), (2.15, 0.2), (1.75, 0.8), (0.4, 0.6), (-1.0, 0.75)],
            ]
        ),
        closed=True,
    ) * (jitter(rng, 0.07), jitter(rng, 0.1))
    shapes: Plane = {
        "sole": region(sole, FAT * 0.8, BODY),
        "skin": line(sole, BRIGHT * 0.7, 0.1, closed=True),
        "heel bone": line(ellipse((-1.9, 0), 0.3, 0.18), BONE * 0.5, 0.14, shadow=0.2, closed=True),
    }
    spread = rng.uniform(0.9, 1.1)
    for k in range(5):
        y = (-0.85 + 0.4 * k) * spread
        reach = 2.45 - 0.1 * k**1.4
        toe = ellipse((reach, y), 0.34 - 0.025 * k, 0.19 if k else 0.25, turn=-6 + 5 * k)
        shapes[f"toe {k}"] = region(toe, FAT)
        shapes[f"toe edge {k}"] = line(toe, BRIGHT * 0.8, 0.07, closed=True)
        ray = np.array([(0.1, y * 0.75), (1.35, y * 0.95)])
        shapes[f"metatarsal {k}"] = line(ray, BONE * 0.55, 0.12, shadow=0.2)
    if rng.random() < 0.4:
        leg = tube([(-2.4, 0.1), (-4.0, 0.8), (-5.4, 1.6)], np.linspace(0.7, 1.0, 48))
        shapes["leg"] = region(leg, MUSCLE, BODY)
        for side, name in ((-1, "tibia"), (1, "fibula")):
            bone = np.array([(-2.9, 0.3 + side * 0.22), (-5.0, 1.4 + side * 0.4)])
            shapes[name] = line(bone, BONE * 0.8, 0.16, shadow=0.7)
    return shapes
