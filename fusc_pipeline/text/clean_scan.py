"""One frame from scan to text-free image: find the fan, remove the ink, read what is left, repair, crop.

What `clean_images` runs in workers. Joins `scans` (the fan) and `text` (the removal), which do not know each other. No
dagster, no Parquet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fusc_pipeline.text.engine import OcrEngine, Word

if TYPE_CHECKING:
    from fusc_pipeline.scans.fan import Fan
    from fusc_pipeline.text.removal import Removed

MOST_INK = 0.3  # share of the fan; real screens with calipers and a label stay under 0.1
MOST_REPAIRS = 3
# What the checker must read, and how surely, to count: single letters and strokes it sees in speckle as well.
_TEXT = re.compile(r"[A-Za-z].*[A-Za-z]|[0-9].*[0-9].*[0-9]")
_SURE = 0.5
# In a place that a word was removed from the reading has no say in where text is, so it must be surer and longer; and
# so must one whose letters are as tall as tissue.
_PLACE_SURE, _TALL_SURE, _LETTERS = 0.75, 0.8, 3
# How far beyond its ends a line may go on that an engine did not read in full, in heights of its letters.
_BEYOND = 6
# Longest side, in pixels, that the checker's detector sees: its cost grows with the square.
CHECK_CANVAS = 640


@dataclass(frozen=True)
class Scan:
    """A frame to clean: its PNG, ultrasound region (None: found in the picture), the words on it (None: not read), and
    what it shows, one of `schemas.CONTENTS`."""

    image_id: str
    png: bytes
    region: tuple[int, int, int, int] | None
    words: tuple[Word, ...] | None
    subject_key: str
    subject_source: str
    machine: str | None
    study_key: str | None = None
    content: str = "b_mode"


@dataclass(frozen=True)
class Cleaning:
    """check_text: whether a second engine reads each cleaned frame; contents: which frames are let on."""

    check_text: bool = True
    contents: tuple[str, ...] = ("b_mode",)


class Checker(OcrEngine, Protocol):
    """An engine that also reads given places; see `RapidOcrEngine.read_places`."""

    def read_places(self, pixels: np.ndarray, places: Sequence[Word]) -> list[Word]: ...


def clean_scan(scan: Scan, cleaning: Cleaning = Cleaning()) -> dict[str, Any]:
    """The row of `schemas.CLEAN_IMAGES` for one scan; a frame that cannot be passed on is quarantined with the reason.

    Raises BadSetting when the checker's models are missing.
    """
    from fusc_pipeline.base.png import decode_png, encode_png
    from fusc_pipeline.scans.fan import NoFan, find_fan

    row: dict[str, Any] = {
        "image_id": scan.image_id,
        "subject_key": scan.subject_key,
        "subject_source": scan.subject_source,
        "study_key": scan.study_key,
        "machine": scan.machine,
        "image": None,
        "height": None,
        "width": None,
        "crop_x0": None,
        "crop_y0": None,
        "fan_confidence": None,
        "ink_share": None,
        "repairs": None,
        "quarantined": None,
    }
    if scan.content not in cleaning.contents:
        return row | {
            "quarantined": f"shows {scan.content}, which clean_images.contents does not list; add it there to let it on"
        }
    if scan.words is None:
        return row | {
            "quarantined": "its text could not be read, so it could not be removed: materialise burned_in_text by force"
        }
    pixels = decode_png(scan.png)
    try:
        fan = find_fan(pixels, scan.region)
    except NoFan as reason:
        return row | {"quarantined": str(reason)}
    # seeded by the image: cleaning it again, in any batch, gives the same pixels
    seed = int(scan.image_id[:8], 16)
    removed, repairs, left = remove_and_check(pixels, fan, scan.words, seed, checker() if cleaning.check_text else None)
    row["repairs"] = repairs
    if left:
        return row | {"quarantined": f"text can still be read after {MOST_REPAIRS} repairs"}
    x0, y0, x1, y1 = fan.box
    image = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
    ink_share = float(removed.ink[fan.mask].mean())
    if ink_share > MOST_INK:
        return row | {"quarantined": f"overlay covers {ink_share:.0%} of the fan; what is left is no scan"}
    return row | {
        "image": {"bytes": encode_png(image), "path": None},
        "height": image.shape[0],
        "width": image.shape[1],
        "crop_x0": x0,
        "crop_y0": y0,
        "fan_confidence": float(fan.confidence),
        "ink_share": ink_share,
    }


def remove_and_check(
    pixels: np.ndarray, fan: "Fan", words: Sequence[Word], seed: int, engine: Checker | None
) -> tuple["Removed", int | None, list[Word]]:
    """(the cleaned frame, repairs made or None when not checked, words still read on it).

    What the engine reads on the cleaned crop, in whatever direction it runs, is added to the words, and the frame as
    delivered is cleaned again; what it reads after that is repainted as a block.
    """
    from fusc_pipeline.text.removal import remove_text

    found = list(words)
    blocks: list[Word] = []
    x0, y0, x1, y1 = fan.box
    places = [_moved(place, -x0, -y0) for word in words for place in _where_it_stood(word, fan.mask)]
    for repairs in range(MOST_REPAIRS + 1):
        removed = remove_text(pixels, fan.mask, found, seed, blocks=blocks)
        if engine is None:
            return removed, None, []
        crop = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
        read = [word for word in engine.read(crop) if _counts(word, pixels.shape)]
        read += [word for word in engine.read_places(crop, places) if _is_name(word, _PLACE_SURE)]
        left = [_moved(word, x0, y0) for word in read]
        if not left:
            break
        if repairs:
            blocks += left
        found += left
    return removed, repairs, left


def _where_it_stood(word: Word, fan: np.ndarray) -> list[Word]:
    """The place of a word that is to be removed, and those before and after it on its line; none outside the fan."""
    from fusc_pipeline.text.ink import is_tissue, padded

    y0, y1, x0, x1 = padded(word, fan.shape)
    if is_tissue(word, fan.shape) or not fan[y0:y1, x0:x1].any():
        return []
    beyond, half = _BEYOND * word.thickness, word.thickness // 2
    if word.upright:
        boxes = [(x0 - beyond, y0, x0 + half, y1), (x1 - half, y0, x1 + beyond, y1)]
    else:
        boxes = [(x0, y0 - beyond, x1, y0 + half), (x0, y1 - half, x1, y1 + beyond)]
    return [word, *(Word(*box, text="", confidence=0.0, angle=word.angle) for box in boxes)]


def _moved(word: Word, right: int, down: int) -> Word:
    return replace(word, x0=word.x0 + right, y0=word.y0 + down, x1=word.x1 + right, y1=word.y1 + down)


def _counts(word: Word, shape: tuple[int, ...]) -> bool:
    """Whether a reading is text that must go. Tissue reads as a letter or two, as tall as itself."""
    from fusc_pipeline.text.ink import is_tissue

    return is_text(word) and (not is_tissue(word, shape) or _is_name(word, _TALL_SURE))


def _is_name(word: Word, sure: float) -> bool:
    return word.confidence >= sure and len(re.findall(r"[A-Za-z0-9]", word.text)) >= _LETTERS and is_text(word)


def is_text(word: Word) -> bool:
    """Whether a reading counts as text: two letters or three digits, surely read."""
    return word.confidence > _SURE and _TEXT.search(word.text) is not None


def checker_identity() -> dict[str, Any]:
    """What identifies the checker's readings, without making it."""
    from fusc_pipeline.text.engines import engine_identity

    return engine_identity("rapidocr", CHECK_CANVAS) | {"sensitive": True}


@lru_cache(maxsize=1)
def checker() -> Checker:
    """The second engine, made once per process. Raises BadSetting when its models are missing."""
    from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

    return RapidOcrEngine.sensitive(canvas=CHECK_CANVAS)
