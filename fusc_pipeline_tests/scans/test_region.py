import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline.scans.region import mm_per_px_from_dicom, region_from_dicom
from fusc_pipeline_tests.scans.make import add_region

SHAPE = (600, 800)


def test_the_largest_tissue_region_is_taken():
    ds = Dataset()
    add_region(ds, (10, 10, 200, 200))
    add_region(ds, (120, 60, 700, 518))
    add_region(ds, (0, 0, 799, 599), spatial=4, kind=10)
    add_region(ds, (0, 0, 799, 599), kind=13)
    assert region_from_dicom(ds, SHAPE) == (120, 60, 701, 519)
    assert mm_per_px_from_dicom(ds, SHAPE) == pytest.approx(0.2)


@pytest.mark.parametrize(
    "box, expected",
    [
        ((120, 60, 800, 518), (120, 60, 800, 519)),  # the last column counted as exclusive
        ((120, 60, 799, 600), (120, 60, 800, 600)),
        ((0, 0, 1200, 518), None),  # of a frame of another size
        ((100, 100, 105, 300), None),
        ((300, 300, 100, 100), None),
    ],
)
def test_bounds(box, expected):
    ds = Dataset()
    add_region(ds, box)
    assert region_from_dicom(ds, SHAPE) == expected


def test_no_regions_and_other_units():
    assert region_from_dicom(Dataset(), SHAPE) is None
    assert mm_per_px_from_dicom(Dataset(), SHAPE) is None
    ds = Dataset()
    add_region(ds, (10, 10, 200, 200), units=4)
    assert mm_per_px_from_dicom(ds, SHAPE) is None
    ds = Dataset()
    add_region(ds, (10, 10, 200, 200))
    ds.SequenceOfUltrasoundRegions[0].PhysicalDeltaY = 0.05
    assert mm_per_px_from_dicom(ds, SHAPE) is None


def test_incomplete_items_are_passed_over():
    ds = Dataset()
    add_region(ds, (10, 10, 200, 200))
    del ds.SequenceOfUltrasoundRegions[0].RegionLocationMaxX1
    assert region_from_dicom(ds, SHAPE) is None


@given(st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 900)] * 4))
def test_a_region_lies_within_the_frame(box):
    ds = Dataset()
    add_region(ds, box)
    region = region_from_dicom(ds, SHAPE)
    if region is not None:
        x0, y0, x1, y1 = region
        assert 0 <= x0 < x1 <= 800
        assert 0 <= y0 < y1 <= 600


@pytest.mark.parametrize(
    "manufacturer, model, expected",
    [
        ("GE Healthcare", "Voluson E8", "ge voluson e8"),
        ("G.E. Medical Systems", "LOGIQ 700", "ge logiq 700"),
        ("Philips Medical Systems", "EPIQ 7C", "philips epiq 7c"),
        ("Philips", "iU22", "philips iu22"),
        ("SAMSUNG MEDISON CO., LTD.", "WS80A", "samsung ws80a"),
        ("GE Vingmed", "Room of Dr. CANARY", "ge"),
        ("St CANARY Hospital", "built here", "other"),
        (None, None, None),
        ("", " ", None),
    ],
)
def test_machines_come_from_a_list(manufacturer, model, expected):
    assert machine_name(manufacturer, model) == expected
