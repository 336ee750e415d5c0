"""The real ultrasound files that pydicom and pydicom-data ship: what becomes of each."""

from pathlib import Path

import pydicom
import pytest

from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.frames import REASONS, RejectedScan
from fusc_pipeline.scans.reading import read_scan

data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")

ROOTS = [Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"]
FILES = {path.name: path for root in ROOTS for path in sorted(root.rglob("*")) if path.is_file()}

# name -> (shape of a frame, frames taken, machine, DICOM region, has a fan)
READ = {
    "OBXXXX1A.dcm": ((600, 800), 1, "philips cx50", (120, 60, 800, 519), True),
    "OBXXXX1A_2frame.dcm": ((600, 800), 2, "philips cx50", (120, 60, 800, 519), True),
    "OBXXXX1A_expb.dcm": ((600, 800), 1, "philips cx50", (120, 60, 800, 519), True),
    "OBXXXX1A_expb_2frame.dcm": ((600, 800), 2, "philips cx50", (120, 60, 800, 519), True),
    "OBXXXX1A_rle.dcm": ((600, 800), 1, "philips cx50", (120, 60, 800, 519), True),
    "OBXXXX1A_rle_2frame.dcm": ((600, 800), 2, "philips cx50", (120, 60, 800, 519), True),
    "examples_palette.dcm": ((350, 800), 1, "philips cx50", None, True),
    "gdcm-US-ALOKA-16.dcm": ((480, 640), 1, "hitachi ssd-4000", (32, 24, 336, 416), True),
    "gdcm-US-ALOKA-16_big.dcm": ((480, 640), 1, "hitachi ssd-4000", (32, 24, 336, 416), True),
    "US1_UNCI.dcm": ((480, 640), 1, "ge logiq 700", None, True),
    "US1_UNCR.dcm": ((480, 640), 1, "ge logiq 700", None, True),
    "examples_rgb_color.dcm": ((240, 320), 1, "ge logiq 700", None, True),
    "ExplVR_BigEnd.dcm": ((60, 80), 1, "ge logiq 700", None, False),
    "color3d_jpeg_baseline.dcm": ((480, 640), 8, "sonosite turbo", (84, 31, 596, 415), True),
    "examples_ybr_color.dcm": ((240, 320), 8, "sonosite turbo", None, True),
    "color-pl.dcm": ((120, 256), 1, "other", None, True),
    "color-px.dcm": ((120, 256), 1, "other", None, True),
}
JPEG_2000 = ["US1_J2KR.dcm", "US1_J2KI.dcm", "examples_jpeg2k.dcm"]


@pytest.mark.parametrize("name", READ)
def test_files_that_are_read(name):
    shape, count, machine, region, has_fan = READ[name]
    frames = list(read_scan(FILES[name]))
    assert len(frames) == count
    assert {frame.pixels.shape[:2] for frame in frames} == {shape}
    assert {(frame.machine, frame.region) for frame in frames} == {(machine, region)}
    if has_fan:
        assert find_fan(frames[0].pixels, region).confidence > 0.4
    else:
        with pytest.raises(NoFan):
            find_fan(frames[0].pixels, region)


@pytest.mark.parametrize("name", JPEG_2000)
def test_jpeg_2000_where_pillow_has_it(name):
    (frame,) = read_scan(FILES[name])
    assert frame.pixels.shape == (480, 640, 3)


def test_lossless_jpeg_has_no_permissive_decoder():
    with pytest.raises(RejectedScan) as caught:
        list(read_scan(FILES["JPGLosslessP14SV1_1s_1f_8b.dcm"]))
    assert caught.value.reason == "unsupported_encoding"


def test_the_same_picture_in_three_encodings():
    plain, big, coded = (
        next(iter(read_scan(FILES[name]))).pixels for name in ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm", "OBXXXX1A_rle.dcm")
    )
    assert (plain == big).all()
    assert (plain == coded).all()


def test_every_other_file_is_read_or_refused_with_a_reason():
    for path in FILES.values():
        try:
            for _ in read_scan(path):
                pass
        except RejectedScan as refusal:
            assert refusal.reason in REASONS, path.name
