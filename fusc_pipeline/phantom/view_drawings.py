"""The fifteen views and the cervix: which plane draws each, which lie next to it, how it usually lies on the screen."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fusc_pipeline.phantom import bones, cervix, head, heart, trunk
from fusc_pipeline.phantom.config import CERVIX
from fusc_pipeline.phantom.shapes import Plane, morph

_DRAWN_BY: dict[str, Callable[[str, np.random.Generator], Plane]] = {
    **dict.fromkeys(("4CH", "LVOT", "RVOT", "3VV/3VT"), heart.plane),
    **dict.fromkeys(("Brain", "Orbit", "Lips/Nose", "Profile"), head.plane),
    **dict.fromkeys(("Abdomen", "Kidney", "Cord Insertion", "Diaphragm"), trunk.plane),
    **dict.fromkeys(("Spine", "Femur", "Feet"), bones.plane),
    CERVIX: cervix.plane,
}

# A small tilt or slide of the probe turns one into the other.
NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "4CH": ("LVOT",),
    "LVOT": ("4CH", "RVOT"),
    "RVOT": ("LVOT", "3VV/3VT"),
    "3VV/3VT": ("RVOT",),
    "Abdomen": ("Kidney", "Cord Insertion"),
    "Kidney": ("Abdomen",),
    "Cord Insertion": ("Abdomen",),
    "Brain": ("Orbit",),
    "Orbit": ("Brain",),
}

# Degrees either way. Long bones and spines are imaged across the beam; a chest lies as the fetus does.
TURN: dict[str, float] = {"Spine": 45, "Femur": 45, "Brain": 70, "Profile": 80, "Diaphragm": 70, CERVIX: 20}
DEFAULT_TURN = 95.0

# What else has to be in the picture: the cord before the belly. Units of the plane.
SHIFT: dict[str, tuple[float, float]] = {"Cord Insertion": (0.0, 1.5), "Orbit": (0.0, 0.5)}

# Small parts are looked at larger.
MAGNIFICATION: dict[str, float] = {
    **dict.fromkeys(("4CH", "LVOT", "RVOT", "3VV/3VT"), 1.3),
    **{"Lips/Nose": 1.2, "Feet": 1.15, "Kidney": 1.1, "Abdomen": 1.1, "Orbit": 1.05, "Spine": 0.95, "Profile": 0.92},
    **{"Diaphragm": 0.92, "Cord Insertion": 0.9},
}


def plane_of(view: str, seed: int, off_plane: float, rng: np.random.Generator) -> Plane:
    """The view's plane, slid by up to `off_plane` towards a neighbour cut through the same fetus (`seed`)."""
    own = _DRAWN_BY[view](view, np.random.default_rng(seed))
    if view in NEIGHBOURS and off_plane > 0:
        neighbour = NEIGHBOURS[view][rng.integers(len(NEIGHBOURS[view]))]
        t = off_plane * rng.beta(1.0, 1.6)
        own = morph(own, _DRAWN_BY[neighbour](neighbour, np.random.default_rng(seed)), t)
    shift = np.array(SHIFT.get(view, (0.0, 0.0)))
    return {name: replace(shape, points=shape.points + shift) for name, shape in own.items()}
