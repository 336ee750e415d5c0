"""Where the detector looks twice: the surroundings of what it found, and small text it could not see at first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.weights import DETECTOR_FILE, resolve_weights

detector = pytest.importorskip("fusc_pipeline.text.detector")
try:
    WEIGHTS = resolve_weights()
except BadSetting as refusal:
    WEIGHTS, MISSING = None, str(refusal)
else:
    MISSING = ""

box = st.tuples(st.integers(0, 780), st.integers(0, 580), st.integers(1, 200), st.integers(1, 40)).map(
    lambda b: (b[0], b[1], min(800, b[0] + b[2]), min(600, b[1] + b[3]))
)


@given(st.lists(box, max_size=12))
def test_neighbourhoods_cover_every_box_and_stay_inside(boxes):
    regions = detector.neighbourhoods(boxes, 800, 600)
    assert len(regions) <= len(boxes)
    assert all(0 <= r[0] < r[2] <= 800 and 0 <= r[1] < r[3] <= 600 for r in regions)
    for b in boxes:
        assert any(r[0] <= b[0] and r[1] <= b[1] and b[2] <= r[2] and b[3] <= r[3] for r in regions)


def test_a_column_of_lines_is_one_neighbourhood_and_a_far_label_another():
    column = [(700, 20 + 22 * i, 780, 36 + 22 * i) for i in range(5)]
    assert len(detector.neighbourhoods([*column, (200, 400, 300, 424)], 800, 600)) == 2


def test_a_header_and_a_column_that_touch_are_not_looked_at_as_one_whole_frame():
    header = [(100 * i, 10, 100 * i + 70, 26) for i in range(8)]
    column = [(700, 40 + 22 * i, 780, 56 + 22 * i) for i in range(20)]
    regions = detector.neighbourhoods(header + column, 800, 600)
    assert sum((r[2] - r[0]) * (r[3] - r[1]) for r in regions) < 0.3 * 800 * 600


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_second_look_finds_what_is_small():
    """On a frame of 1280 pixels, seen at 640: the value beside its name is found only on the second look."""
    import numpy as np

    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline_tests.text.screens import typed

    screen = np.zeros((400, 1280, 3), np.uint8)
    for line, text in enumerate(("Har-low", "Gn", "C7 / M7", "FF2 / E1")):
        screen, _, _ = typed(screen, text, (1100, 40 + 22 * line), (230, 230, 230), 15)
    screen, _, value = typed(screen, "2", (1150, 62), (230, 230, 230), 15)
    compute = Compute.detect(device="cpu", threads=1)
    looks = {
        zoom: detector.TextDetector(WEIGHTS / DETECTOR_FILE, compute, 640, 0.5, 0.35, 0.4, 5, zoom).boxes(screen)
        for zoom in (0, 1.5)
    }
    centre = ((value[0] + value[2]) / 2, (value[1] + value[3]) / 2)
    seen = {
        zoom: any(b[0] <= centre[0] < b[2] and b[1] <= centre[1] < b[3] for b in boxes) for zoom, boxes in looks.items()
    }
    assert seen[1.5]
    assert len(looks[1.5]) >= len(looks[0])
