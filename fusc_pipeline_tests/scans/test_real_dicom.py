"""The real files that pydicom and pydicom-data ship: what becomes of each, ultrasound and other."""

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.frames import RejectedScan
from fusc_pipeline.scans.reading import read_scan

data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")

ROOTS = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data"]
FILES = {
    path.name: path
    for root in ROOTS
    for path in sorted(root.rglob("*"))
    if path.is_file() and path.suffix not in (".py", ".pyc")
}

# Every ultrasound file: (shape of a frame, photometric interpretation, frames taken of how many, machine, DICOM region,
# kind of fan found, or why there is none). All are taken but the last, which is a thumbnail of a Doppler box.
ULTRASOUND = {
    "OBXXXX1A.dcm": ((600, 800, 3), "PALETTE COLOR", (1, 1), "philips cx50", (120, 60, 800, 519), "sector"),
    "OBXXXX1A_2frame.dcm": ((600, 800, 3), "PALETTE COLOR", (2, 2), "philips cx50", (120, 60, 800, 519), "sector"),
    "OBXXXX1A_expb.dcm": ((600, 800, 3), "PALETTE COLOR", (1, 1), "philips cx50", (120, 60, 800, 519), "sector"),
    "OBXXXX1A_expb_2frame.dcm": ((600, 800, 3), "PALETTE COLOR", (2, 2), "philips cx50", (120, 60, 800, 519), "sector"),
    "OBXXXX1A_rle.dcm": ((600, 800, 3), "PALETTE COLOR", (1, 1), "philips cx50", (120, 60, 800, 519), "sector"),
    "OBXXXX1A_rle_2frame.dcm": ((600, 800, 3), "PALETTE COLOR", (2, 2), "philips cx50", (120, 60, 800, 519), "sector"),
    "examples_palette.dcm": ((350, 800, 3), "PALETTE COLOR", (1, 1), "philips cx50", None, "sector"),
    "gdcm-US-ALOKA-16.dcm": (
        (480, 640, 3), "PALETTE COLOR", (1, 1), "hitachi ssd-4000", (32, 24, 336, 416), "trapezoid",
    ),
    "gdcm-US-ALOKA-16_big.dcm": (
        (480, 640, 3), "PALETTE COLOR", (1, 1), "hitachi ssd-4000", (32, 24, 336, 416), "trapezoid",
    ),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (
        (768, 1024), "MONOCHROME2", (1, 1), "philips epiq 7c", (14, 38, 1011, 759), "trapezoid",
    ),
    "US1_UNCI.dcm": ((480, 640, 3), "RGB", (1, 1), "ge logiq 700", None, "cut"),
    "US1_UNCR.dcm": ((480, 640, 3), "RGB", (1, 1), "ge logiq 700", None, "trapezoid"),
    "US1_J2KI.dcm": ((480, 640, 3), "YBR_ICT", (1, 1), "ge logiq 700", None, "cut"),
    "US1_J2KR.dcm": ((480, 640, 3), "YBR_RCT", (1, 1), "ge logiq 700", None, "trapezoid"),
    "examples_jpeg2k.dcm": ((480, 640, 3), "YBR_RCT", (1, 1), "ge logiq 700", None, "trapezoid"),
    "examples_rgb_color.dcm": ((240, 320, 3), "RGB", (1, 1), "ge logiq 700", None, "trapezoid"),
    "color3d_jpeg_baseline.dcm": (
        (480, 640, 3), "YBR_FULL_422", (8, 120), "sonosite turbo", (84, 31, 596, 415), "sector",
    ),
    "examples_ybr_color.dcm": ((240, 320, 3), "YBR_FULL_422", (8, 30), "sonosite turbo", None, "cut"),
    "color-pl.dcm": ((120, 256, 3), "RGB", (1, 1), "other", None, "trapezoid"),
    "color-px.dcm": ((120, 256, 3), "RGB", (1, 1), "other", None, "trapezoid"),
    "ExplVR_BigEnd.dcm": ((60, 80, 3), "RGB", (1, 1), "ge logiq 700", None, "the picture is bright like a page"),
}  # fmt: skip

# The others, by what becomes of them; no_scan: decoded, but no ultrasound was found in the picture.
OTHERS = {
    "not_ultrasound": 148,
    "no_scan": 59,
    "no_pixels": 21,
    "not_an_image": 13,
    "no_dicom_head": 1,
    "unsupported_pixels": 6,
    "damaged": 2,
}
# What another tool decompressed these to, or the same picture in another encoding.
SAME_PICTURE = {
    "OBXXXX1A_expb.dcm": "OBXXXX1A.dcm",
    "OBXXXX1A_rle.dcm": "OBXXXX1A.dcm",
    "OBXXXX1A_rle_2frame.dcm": "OBXXXX1A_2frame.dcm",
    "gdcm-US-ALOKA-16_big.dcm": "gdcm-US-ALOKA-16.dcm",
    "US1_J2KR.dcm": "US1_UNCR.dcm",
    "US1_J2KI.dcm": "US1_UNCI.dcm",
    "color-pl.dcm": "color-px.dcm",
    "SC_rgb_jpeg_gdcm.dcm": "SC_rgb.dcm",
    "SC_rgb_rle_16bit.dcm": "SC_rgb_16bit.dcm",
    "SC_rgb_gdcm_KY.dcm": "SC_rgb_gdcm2k_uncompressed.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm": "SC_rgb_dcmtk_ebcr_dcmd.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm": "SC_rgb_dcmtk_ebcyn1_dcmd.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm": "SC_rgb_dcmtk_ebcyn2_dcmd.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm": "SC_rgb_dcmtk_ebcynp_dcmd.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm": "SC_rgb_dcmtk_ebcys2_dcmd.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": "SC_rgb_dcmtk_ebcys4_dcmd.dcm",
}


@pytest.mark.parametrize("name", ULTRASOUND)
def test_ultrasound(name):
    shape, photometric, (taken, claimed), machine, region, fan = ULTRASOUND[name]
    frames = list(read_scan(FILES[name]))
    assert [frame.n_frames for frame in frames] == [claimed] * taken
    assert {(f.pixels.shape, f.photometric, f.machine, f.region) for f in frames} == {
        (shape, photometric, machine, region)
    }
    if fan in ("sector", "trapezoid", "cut"):
        found = find_fan(frames[0].pixels, region)
        assert found.kind == fan
        assert found.confidence > 0.4
    else:
        with pytest.raises(NoFan, match=fan):
            find_fan(frames[0].pixels, region)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_table_names_every_ultrasound_file():
    found = set()
    for name, path in FILES.items():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if header.get("Modality") == "US" and "Rows" in header:
            found.add(name)
    assert found == set(ULTRASOUND)


def test_every_other_file_has_a_reason():
    reasons = Counter()
    for name in set(FILES) - set(ULTRASOUND):
        try:
            frames = list(read_scan(FILES[name]))
            for frame in frames:
                with pytest.raises(NoFan):
                    find_fan(frame.pixels, frame.region)
            reasons["no_scan"] += 1
        except RejectedScan as refusal:
            reasons[refusal.reason] += 1
    assert reasons == OTHERS


@pytest.mark.parametrize("name", SAME_PICTURE)
def test_the_same_picture_in_another_encoding(name):
    one, other = (next(iter(read_scan(FILES[name]))).pixels for name in (name, SAME_PICTURE[name]))
    assert np.array_equal(one, other)


def test_colours_are_right():
    """Bars of known colours, whatever way they were stored."""
    for name in FILES:
        if not name.startswith("SC_rgb_") or "32bit" in name or "small" in name or "jpeg_dcmd" in name:
            continue
        if name in ("SC_rgb_jpeg.dcm", "SC_rgb_jpeg_app14_dcmd.dcm"):  # Other pictures.
            continue
        pixels = next(iter(read_scan(FILES[name]))).pixels.astype(int)
        bars = pixels[5::10, 50]
        truth = [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255), (128, 128, 255)]
        assert np.abs(bars[:6] - truth).max() <= 8, name
