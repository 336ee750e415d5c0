"""The hardest public screens, cleaned although no first engine read them: no text, ruler, bar or plate is left."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fusc_pipeline.scans.fan import find_fan
from fusc_pipeline.text.clean_scan import checker, remove_and_check
from fusc_pipeline.text.drawn import find_drawn

FRAMES = Path(__file__).resolve().parents[3] / "shared" / "scans" / "fetal_planes_db"
needs_frames = pytest.mark.skipif(not FRAMES.is_dir(), reason=f"no public frames in {FRAMES}")


def load(name):
    return cv2.imread(str(FRAMES / name), cv2.IMREAD_GRAYSCALE)


@needs_frames
@pytest.mark.parametrize(
    "name",
    ["Patient01653_Plane3_9_of_11.png", "Patient01707_Plane5_3_of_3.png", "Patient01606_Plane3_2_of_5.png"],
    ids=["grey text on tissue", "logo plate at the fan's edge", "black ticks and grey bar"],
)
def test_nothing_is_left_to_read_nor_drawn(name):
    grey = load(name)
    fan = find_fan(grey)
    removed, _, left = remove_and_check(grey, fan, [], seed=0, engine=checker())
    assert not left
    drawn = find_drawn(grey, fan.mask) & fan.mask
    assert removed.ink[drawn].all()
    # Of the marks that were there none is left that stands out as before.
    assert np.count_nonzero(find_drawn(removed.image, fan.mask) & fan.mask & drawn) <= 0.02 * drawn.sum()
    # Anatomy beyond the overlay is the delivered one, pixel by pixel.
    kept = fan.mask & ~removed.ink & ~removed.decoys
    assert np.array_equal(removed.image[kept], grey[kept]) and kept.sum() > 0.9 * fan.mask.sum()
