"""Planes through the head and face: Brain (axial), Orbit (axial, lower), Lips/Nose (coronal), Profile (midsagittal)."""

import numpy as np

from fusc_pipeline.phantom.shapes import (
    BODY,
    BONE,
    BRAIN,
    BRIGHT,
    CARTILAGE,
    CAVITY,
    FAT,
    FLUID,
    MUSCLE,
    WALL,
    Plane,
    curve,
    ellipse,
    jitter,
    line,
    region,
)


def plane(view: str, rng: np.random.Generator) -> Plane:
    """One head plane with this fetus's jitter."""
    return {"Brain": _brain, "Orbit": _orbit, "Lips/Nose": _lips, "Profile": _profile}[view](rng)


def _skull(rng: np.random.Generator, rx: float, ry: float, inside: float, start: float = 0, stop: float = 360) -> Plane:
    """Scalp, skull and what fills it."""
    rx, ry, phase = rx * jitter(rng, 0.06), ry * jitter(rng, 0.06), rng.uniform(0, 6)
    outline = ellipse((0, 0), rx, ry, start=start, stop=stop, wobble=0.012, phase=phase)
    return {
        "scalp": region(ellipse((0, 0), rx + 0.22, ry + 0.22, wobble=0.012, phase=phase), FAT * 0.5, BODY),
        "brain": region(ellipse((0, 0), rx, ry, wobble=0.012, phase=phase), inside * jitter(rng, 0.25), BODY),
        "skull": line(outline, BONE, 0.24, shadow=0.16, closed=stop - start >= 360),
    }


def _brain(rng: np.random.Generator) -> Plane:
    """Midline, cavum, thalami; the ventricle's far wall and choroid, or the cerebellum in the lower cut."""
    shapes = _skull(rng, 3.9, 3.05, BRAIN)
    shapes |= {
        "falx front": line(np.array([(-3.4, 0), (-2.2, 0)]), BRIGHT, 0.1),
        "falx back": line(np.array([(0.9, 0), (3.4, 0)]), BRIGHT, 0.1),
        "cavum": region(np.array([(-2.1, -0.26), (-1.2, -0.26), (-1.2, 0.26), (-2.1, 0.26)]), FLUID, CAVITY),
        "cavum near": line(np.array([(-2.15, -0.3), (-1.15, -0.3)]), BRIGHT, 0.09),
        "cavum far": line(np.array([(-2.15, 0.3), (-1.15, 0.3)]), BRIGHT, 0.09),
        "thalamus near": region(ellipse((0, -0.55), 0.85 * jitter(rng), 0.42, turn=-8), CARTILAGE, CAVITY),
        "thalamus far": region(ellipse((0, 0.55), 0.85 * jitter(rng), 0.42, turn=8), CARTILAGE, CAVITY),
        "sylvian": line(curve([(-0.9, 2.2), (-0.2, 1.8), (0.8, 2.1)]), BRIGHT * 0.7, 0.14),
    }
    if rng.random() < 0.5:  # transcerebellar cut
        for side, name in ((-1, "near"), (1, "far")):
            shapes[f"cerebellum {name}"] = region(ellipse((2.25, side * 0.62), 0.55, 0.68 * jitter(rng)), 0.09, CAVITY)
            edge = ellipse((2.25, side * 0.62), 0.55, 0.68)
            shapes[f"cerebellum edge {name}"] = line(edge, BRIGHT * 0.6, 0.08, closed=True)
        shapes["cisterna magna"] = region(ellipse((3.15, 0), 0.28, 0.9), FLUID * 4, CAVITY)
    else:  # transventricular cut
        ventricle = curve([(0.9, 1.0), (2.0, 1.0), (2.9, 0.7), (2.9, 1.3), (1.9, 1.6), (0.9, 1.4)], closed=True)
        shapes["ventricle"] = region(ventricle, FLUID * 4, CAVITY)
        shapes["ventricle wall"] = line(curve([(0.6, 1.0), (1.9, 1.0), (2.9, 0.65)]), BRIGHT, 0.09)
        shapes["choroid"] = line(curve([(1.1, 1.25), (1.9, 1.32)]), FAT * 2, 0.32)
    return shapes


def _orbit(rng: np.random.Generator) -> Plane:
    """Both globes with lens behind the nose's bridge; the skull's rest runs round behind them."""
    shapes = _skull(rng, 3.3, 2.8, 0.12, start=-28, stop=208)
    apart = 1.25 * jitter(rng, 0.05)
    for side, name in ((-1, "right"), (1, "left")):
        size = 0.82 * jitter(rng, 0.07)
        globe = ellipse((side * apart, -1.25), size, size * 0.95)
        shapes[f"globe {name}"] = region(globe, FLUID, CAVITY)
        shapes[f"orbit {name}"] = line(globe, BONE * 0.45, 0.15, shadow=0.12, closed=True)
        lens = ellipse((side * apart, -1.72), 0.2, 0.15)
        shapes[f"lens {name}"] = line(lens, BRIGHT * 0.8, 0.06, closed=True)
    shapes["nose bridge"] = line(curve([(-0.28, -2.2), (0, -2.5), (0.28, -2.2)]), BONE * 0.6, 0.2, shadow=0.4)
    shapes["ethmoid"] = line(np.array([(0, -1.9), (0, -0.5)]), BRIGHT, 0.2)
    return shapes


def _lips(rng: np.random.Generator) -> Plane:
    """Nose tip, nostrils, upper and lower lip, chin: soft tissue without bone."""
    wide = 1.0 * jitter(rng, 0.1)
    shapes: Plane = {
        "face": region(ellipse((0, 0.3), 2.5 * wide, 2.9, wobble=0.05, phase=rng.uniform(0, 6)), MUSCLE * 0.5, BODY),
        "nose": region(ellipse((0, -1.0), 1.05 * wide, 0.8), FAT),
        "nose edge": line(ellipse((0, -1.0), 1.05 * wide, 0.8, start=170, stop=370), BRIGHT, 0.12),
        "upper lip": region(
            curve([(-1.25, 0.55), (-0.6, 0.0), (0, 0.15), (0.6, 0.0), (1.25, 0.55), (0, 0.6)], True), FAT * 1.6
        ),
        "lower lip": region(
            curve([(-1.15, 0.78), (0, 0.82), (1.15, 0.78), (0.6, 1.35), (-0.6, 1.35)], True), FAT * 1.4
        ),
        "mouth gap": region(ellipse((0, 0.7), 1.25 * wide, 0.12), FLUID, CAVITY),
        "upper lip edge": line(
            curve([(-1.25, 0.55), (-0.6, -0.02), (0, 0.12), (0.6, -0.02), (1.25, 0.55)]), BRIGHT, 0.1
        ),
        "lower lip edge": line(curve([(-1.1, 0.95), (-0.6, 1.38), (0, 1.45), (0.6, 1.38), (1.1, 0.95)]), BRIGHT, 0.1),
        "chin": region(ellipse((0, 2.25), 0.95 * wide, 0.6), FAT * 0.8),
        "chin edge": line(ellipse((0, 2.25), 0.95 * wide, 0.6, start=20, stop=160), WALL, 0.1),
    }
    for side, name in ((-1, "right"), (1, "left")):
        nostril = ellipse((side * 0.42 * jitter(rng), -0.72), 0.23, 0.17, turn=side * 20)
        shapes[f"nostril {name}"] = region(nostril, FLUID, CAVITY)
        shapes[f"cheek {name}"] = line(
            curve([(side * 1.9, -0.6), (side * 1.7, 0.4), (side * 1.5, 1.5)]), WALL * 0.6, 0.12
        )
    return shapes


def _profile(rng: np.random.Generator) -> Plane:
    """Forehead, nasal bone, nose, lips, chin in a row before the skull's curve."""
    skin = np.array(
        [
            *[(-2.2, 2.0), (-0.6, 1.5), (0.0, 1.15), (0.32, 0.85)],  # neck, chin
            *[(0.12, 0.6), (0.5, 0.38), (0.25, 0.15), (0.58, -0.1), (0.3, -0.35)],  # lips
            *[(0.98, -0.72), (0.45, -1.2), (0.2, -1.75), (-0.1, -2.5), (-1.0, -3.25), (-2.4, -3.5)],  # nose, forehead
        ]
    )
    skin = skin * (jitter(rng, 0.07), jitter(rng, 0.05)) + rng.normal(0, 0.035, skin.shape)
    body = np.concatenate(
        [curve(skin), [(-3.6, -3.2), (-4.5, -2.0), (-4.7, -0.4), (-4.1, 1.0), (-3.2, 2.3), (-3.4, 3.4), (-2.2, 3.4)]]
    )
    return {
        "head": region(body, MUSCLE * 0.55, BODY),
        "brain": region(ellipse((-2.2, -1.3), 2.15, 1.75, turn=-15), BRAIN * jitter(rng, 0.25), BODY),
        "skin": line(curve(skin), WALL * 1.3, 0.12),
        "skull": line(ellipse((-2.2, -1.3), 2.2, 1.8, turn=-15, start=150, stop=378), BONE, 0.22, shadow=0.2),
        "nasal bone": line(np.array([(0.18, -1.35), (0.62, -0.88)]), BONE, 0.16, shadow=0.4),
        "palate": line(np.array([(-1.1, -0.45), (0.1, -0.25)]), BONE * 0.8, 0.14, shadow=0.4),
        "mandible": line(curve([(-1.2, 0.9), (-0.5, 0.75), (0.05, 0.72)]), BONE * 0.8, 0.16, shadow=0.5),
        "tongue": region(ellipse((-0.6, 0.2), 0.6, 0.28), FAT * 0.8),
    }
