"""One frame from scan to text-free image: find the fan, remove the ink, crop. What `clean_images` runs in workers.

Joins `scans` (the fan) and `text` (the removal), which do not know each other. No dagster, no Parquet.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fusc_pipeline.text.engine import Word

MOST_INK = 0.3  # share of the fan; real screens with calipers and a label stay under 0.1


@dataclass(frozen=True)
class Scan:
    """A frame to clean: its PNG, ultrasound region (None: found in the picture), the words on it (None: not read)."""

    image_id: str
    png: bytes
    region: tuple[int, int, int, int] | None
    words: tuple[Word, ...] | None
    subject_key: str
    subject_source: str
    machine: str | None


def clean_scan(scan: Scan) -> dict[str, Any]:
    """The row of `schemas.CLEAN_IMAGES` for one scan; a frame without a reliable fan is quarantined with the reason."""
    from fusc_pipeline.png import decode_png, encode_png
    from fusc_pipeline.scans.fan import NoFan, find_fan
    from fusc_pipeline.text.removal import remove_text

    row: dict[str, Any] = {
        "image_id": scan.image_id,
        "subject_key": scan.subject_key,
        "subject_source": scan.subject_source,
        "machine": scan.machine,
        "image": None,
        "height": None,
        "width": None,
        "fan_confidence": None,
        "ink_share": None,
        "quarantined": None,
    }
    if scan.words is None:
        return row | {
            "quarantined": "its text could not be read, so it could not be removed; materialise burned_in_text again"
        }
    pixels = decode_png(scan.png)
    try:
        fan = find_fan(pixels, scan.region)
    except NoFan as reason:
        return row | {"quarantined": str(reason)}
    # seeded by the image: cleaning it again, in any batch, gives the same pixels
    removed = remove_text(pixels, fan.mask, list(scan.words), seed=int(scan.image_id[:8], 16))
    x0, y0, x1, y1 = fan.box
    image = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
    ink_share = float(removed.ink[fan.mask].mean())
    if ink_share > MOST_INK:
        return row | {"quarantined": f"overlay covers {ink_share:.0%} of the fan; what is left is no scan"}
    return row | {
        "image": {"bytes": encode_png(image), "path": None},
        "height": image.shape[0],
        "width": image.shape[1],
        "fan_confidence": float(fan.confidence),
        "ink_share": ink_share,
    }
