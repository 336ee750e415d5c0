"""What the sonographer types: clinic-like names for each view, and what goes wrong with them. Text only, no pixels."""

from dataclasses import dataclass

import numpy as np

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.phantom.config import CERVIX, PhantomConfig

NAMES: dict[str, tuple[str, ...]] = {
    "Spine": ("SPINE", "SPINE SAG", "SAG SPINE", "SPINE LONG", "C SPINE", "L SPINE", "SPINE TRANS"),
    "Lips/Nose": ("LIPS", "NOSE/LIPS", "LIPS/NOSE", "NOSE LIPS", "UPPER LIP"),
    "Kidney": ("KIDNEYS", "KIDNEY", "RT KIDNEY", "LT KIDNEY", "L KIDNEY", "RENAL"),
    "Orbit": ("ORBITS", "ORBIT", "EYES"),
    "LVOT": ("LVOT",),
    "RVOT": ("RVOT",),
    "Brain": ("BRAIN", "FETAL BRAIN"),
    "Cord Insertion": ("CORD INSERTION", "CORD INSERT", "ABD CORD INSERTION"),
    "4CH": ("4CH", "4 CH", "4CH HEART", "4 CHAMBER"),
    "Femur": ("FEMUR", "RT FEMUR", "LT FEMUR"),
    "3VV/3VT": ("3VV", "3VT", "3VV/3VT", "3 VV"),
    "Diaphragm": ("DIAPHRAGM", "RT DIAPHRAGM", "LT DIAPHRAGM"),
    "Abdomen": ("ABDOMEN", "FETAL ABDOMEN", "ABDO"),
    "Profile": ("PROFILE", "FACE PROFILE", "PROFILE SAG"),
    "Feet": ("FEET", "FOOT", "RT FOOT", "LT FOOT"),
}

CERVIX_NAMES = ("CERVIX", "CX", "TV CERVIX")
"""Typed on a frame of the cervix: they name none of the fifteen views."""

HARMLESS = ("RT", "LT", "SAG", "TRANS", "LONG", "COR", "PLACENTA", "FETUS A", "POST", "ANT", "MATERNAL LT", "DVP", "CX")
"""Second annotations: they name no view."""

_SIDES = ("SAG", "LONG", "TRANS", "RT", "LT")


@dataclass(frozen=True)
class TypedLabel:
    """text: as drawn, lines parted by a line feed, or None; view: what a person reads from it, or None; second: another
    annotation, or None."""

    text: str | None
    view: str | None
    second: str | None


def choose_label(config: PhantomConfig, view: str, rng: np.random.Generator) -> TypedLabel:
    """The label of a frame of this view under the configuration's probabilities."""
    second = str(rng.choice(HARMLESS)) if rng.random() < config.p_second_annotation else None
    if config.label_independent:
        named = VIEWS[rng.integers(len(VIEWS))]
        return TypedLabel(_name(named, rng), named, second)
    fate = rng.random()
    if fate < config.p_no_label:
        return TypedLabel(None, None, second)
    others = [v for v in VIEWS if v != view]
    if fate < config.p_no_label + config.p_two_views:
        return TypedLabel(f"{_name(view, rng)} {_name(str(rng.choice(others)), rng)}", None, None)
    named = str(rng.choice(others)) if rng.random() < config.p_wrong_label else view
    text = _name(named, rng)
    if rng.random() < config.p_misspelt:
        text = misspell(text, rng)
    if rng.random() < config.p_two_line:
        text = _two_lines(text, rng)
    if rng.random() < config.p_lowercase:
        text = text.lower()
    return TypedLabel(text, named if named in VIEWS else None, second)


def _name(view: str, rng: np.random.Generator) -> str:
    """The first name is the usual one."""
    names = CERVIX_NAMES if view == CERVIX else NAMES[view]
    return names[0] if rng.random() < 0.4 else names[rng.integers(len(names))]


def misspell(text: str, rng: np.random.Generator) -> str:
    """One slip of the finger in the longest word, if it has five letters or more: a person still reads it."""
    word = max(text.replace("/", " ").split(), key=len)
    if len(word) < 5:
        return text
    k = int(rng.integers(1, len(word) - 2))
    slip = rng.integers(3)
    if slip == 0:
        typed = word[:k] + word[k + 1 :]
    elif slip == 1:
        typed = word[:k] + word[k] + word[k:]
    else:
        typed = word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return text.replace(word, typed, 1)


def _two_lines(text: str, rng: np.random.Generator) -> str:
    """Broken at its first space or slash; a single word gets its plane's name below it."""
    for mark in (" ", "/"):
        if mark in text and text.index(mark) > 1:
            return text.replace(mark, "\n", 1)
    return f"{text}\n{rng.choice(_SIDES)}"
