"""One examination's facts as its screens show them, and the fonts they are written in. All names are made up."""

import datetime
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import ImageFont

SURNAMES = ("Lindqvist", "Okafor", "Marchetti", "Novak", "Haddad", "Iversen", "Moreau", "Sato", "Brandt", "Castillo")
GIVEN_NAMES = ("Anna", "Beatriz", "Chiara", "Dana", "Elif", "Freya", "Grace", "Hana", "Ines", "Jana")
YELLOW, WHITE, CYAN, GREEN = (255, 255, 60), (245, 245, 245), (80, 235, 255), (90, 255, 90)
TINTS: dict[str, float] = {"grey": 0.64, "cool": 0.28, "violet": 0.04, "sepia": 0.04}
"""Colour maps, with the share of examinations each gets; `screen` knows what they look like."""


@dataclass(frozen=True)
class Study:
    """What all screens of one examination show, and how this sonographer types. All names are made up."""

    patient_name: str  # "Lindqvist Anna"
    moment: datetime.datetime
    gestation_days: float
    operator: str
    tint: str
    show_name: bool
    label_size: int  # pixels at a screen height of 600
    label_colour: tuple[int, int, int]
    label_font: str

    @classmethod
    def draw(cls, rng: np.random.Generator, number: int, gestation_days: float) -> "Study":
        """A subject's examination."""
        day = datetime.datetime(2015, 1, 5) + datetime.timedelta(days=int(rng.integers(0, 1400)))
        colours = (YELLOW, WHITE, CYAN, GREEN)
        return cls(
            patient_name=f"{SURNAMES[number % 10]} {GIVEN_NAMES[(number // 10 + number) % 10]}",
            moment=day + datetime.timedelta(seconds=int(rng.integers(8 * 3600, 17 * 3600))),
            gestation_days=gestation_days,
            operator=str(rng.choice(["sk", "mw", "jr", "ab", ""])),
            tint=str(rng.choice(list(TINTS), p=list(TINTS.values()))),
            show_name=bool(rng.random() < 0.6),
            label_size=int(rng.integers(14, 27)),
            label_colour=colours[rng.choice(4, p=(0.5, 0.3, 0.12, 0.08))],
            label_font=str(rng.choice(["DejaVuSans-Bold", "DejaVuSans", "DejaVuSansMono-Bold"], p=(0.5, 0.4, 0.1))),
        )

    @property
    def gestation(self) -> str:
        """Weeks and days, as screens write it."""
        return f"{int(self.gestation_days // 7)}w{int(self.gestation_days % 7)}d"


@lru_cache(maxsize=256)
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that travels with matplotlib, so that a seed gives the same pixels on every machine."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)
