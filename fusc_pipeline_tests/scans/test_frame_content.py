"""What frames are flagged as. Real B-mode, tinted or not, must never be; real Doppler and made screens must."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from fusc_pipeline.base.schemas import CONTENTS
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.frame_content import content_from_dicom, content_of_picture
from fusc_pipeline.scans.frames import RejectedScan, as_grey_if_equal
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline_tests.scans.make import add_region, sector

SCANS = Path(__file__).resolve().parents[3] / "shared" / "scans"
SHAPE = (600, 800)
TINTS = {
    "sepia": ((0, 0, 0), (72, 60, 44), (142, 124, 94), (206, 188, 150), (255, 246, 222)),
    "copper": ((0, 0, 0), (80, 50, 32), (160, 100, 64), (240, 150, 95), (255, 200, 127)),
    "candle": ((0, 0, 0), (90, 40, 10), (190, 110, 30), (250, 190, 80), (255, 255, 200)),
    "blue": ((0, 0, 0), (40, 55, 80), (100, 120, 150), (170, 190, 215), (235, 245, 255)),
}


def tinted(grey, tint):
    knots = np.array(TINTS[tint], float)
    levels = np.linspace(0, 255, len(knots))
    table = np.stack([np.interp(np.arange(256), levels, knots[:, c]) for c in range(3)], axis=-1).astype(np.uint8)
    return table[grey]


def grey_of(pixels):
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def box_of(pixels):
    try:
        return find_fan(pixels).box
    except NoFan:
        return (0, 0, pixels.shape[1], pixels.shape[0])


def content(pixels):
    return content_of_picture(pixels, box_of(pixels))


def content_in_tints(pixels):
    """As it is, and as tinted B-mode in every tint."""
    box = box_of(pixels)
    return {content_of_picture(picture, box) for picture in (pixels, *(tinted(grey_of(pixels), t) for t in TINTS))}


def phantom_screens(step):
    from fusc_pipeline.phantom.config import PhantomConfig
    from fusc_pipeline.phantom.render import render_frame

    config = PhantomConfig(n_frames=300, n_subjects=40, seed=5)
    for index in range(0, config.n_frames, step):
        yield as_grey_if_equal(render_frame(config, index).screen)


@pytest.fixture(scope="module")
def phantoms():
    return list(phantom_screens(step=15))


@pytest.mark.skipif(not SCANS.is_dir(), reason="the real frames of shared/scans are absent")
def test_real_b_mode_is_never_flagged():
    """One of the 46, Patient01676_Plane1_14_of_14, is colour flow that was stored as grey; no colour, no flag."""
    files = sorted(SCANS.glob("*/*.*"))
    assert len(files) == 46
    for file in files:
        pixels = as_grey_if_equal(np.asarray(Image.open(file)))
        assert content_in_tints(pixels) == {"b_mode"}, file.name


def test_phantom_b_mode_is_never_flagged(phantoms):
    for number, pixels in enumerate(phantoms):
        assert content_in_tints(pixels) == {"b_mode"}, number


@pytest.mark.slow
def test_none_of_300_phantoms_is_flagged():
    assert [content_in_tints(pixels) for pixels in phantom_screens(step=1)] == [{"b_mode"}] * 300


def with_flow(frame, colours=((200, 30, 20), (30, 60, 220))):
    """Two vessels painted over the tissue."""
    painted = frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
    painted = painted.copy()
    height, width = painted.shape[:2]
    for place, colour in enumerate(colours):
        centre = (round(width * (0.42 + 0.12 * place)), round(height * 0.55))
        cv2.ellipse(painted, centre, (width // 14, height // 40), 30, 0, 360, colour, -1)
    return painted


@pytest.mark.parametrize("tint", ["grey", *TINTS])
def test_colour_flow_over_grey_and_over_tints(phantoms, tint):
    for frame in phantoms[:4]:
        base = grey_of(frame)
        assert content(with_flow(base if tint == "grey" else tinted(base, tint))) == "colour_flow"


def test_coloured_text_and_lines_are_no_flow(phantoms):
    for frame in phantoms[:6]:
        painted = np.repeat(grey_of(frame)[..., None], 3, axis=2)
        height, width = painted.shape[:2]
        cv2.putText(painted, "FEMUR 4CH", (width // 3, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 230, 40), 2)
        cv2.line(painted, (width // 3, height // 3), (width // 2, height // 2), (40, 255, 60), 2)
        cv2.circle(painted, (width // 2, height // 3), 40, (60, 200, 255), 2)
        assert content(painted) == "b_mode"


def screen(parts, shape=SHAPE):
    """A black screen with pictures at (row, column)."""
    frame = np.zeros(shape, np.uint8)
    for (row, column), part in parts:
        frame[row : row + part.shape[0], column : column + part.shape[1]] = part
    return frame


def m_mode(height, width, rng):
    """Echoes that stay at their depth while time runs to the right, some of them moving to and fro."""
    depth = cv2.GaussianBlur(rng.rayleigh(60, (height + 40, 1)).astype(np.float32), (1, 9), 0)
    shift = 8 * np.sin(np.arange(width) / 23)
    rows = np.clip(
        np.arange(height)[:, None] + 20 + shift[None] * (np.arange(height)[:, None] > height / 2), 0, height + 39
    )
    return np.clip(depth[rows.astype(int), 0] + rng.normal(0, 5, (height, width)), 20, 255).astype(np.uint8)


def spectrum(height, width, rng):
    """A pulsatile spectrum that stands on its base line."""
    time = np.arange(width) % 90
    top = height * (0.25 + 0.6 * np.exp(-time / 30))
    filled = np.arange(height)[:, None] >= height - top[None]
    return np.where(filled, np.clip(rng.normal(120, 30, (height, width)), 30, 255), 0).astype(np.uint8)


@pytest.mark.parametrize("colour", [False, True])
def test_a_strip_below_the_picture(colour):
    rng = np.random.default_rng(0)
    picture = sector(270, 480, r0=30, r1=250)[0]
    for name, make in (("m_mode", m_mode), ("spectral", spectrum)):
        frame = screen([((20, 160), picture), ((330, 60), make(220, 660, rng))])
        assert content_of_picture(tinted(frame, "sepia") if colour else frame, (160, 20, 640, 290)) == name


def test_two_pictures_side_by_side():
    left, right = sector(420, 390, r0=60, r1=380, seed=1)[0], sector(420, 390, r0=60, r1=380, seed=2)[0]
    assert content_of_picture(screen([((80, 5), left), ((80, 405), right)]), (5, 80, 795, 500)) == "dual"
    # A small picture in the corner of a large one is no dual screen.
    small = cv2.resize(left, (97, 105))
    assert content_of_picture(screen([((80, 205), left), ((10, 5), small)]), (205, 80, 595, 500)) == "b_mode"


def rendered_surface():
    """A lit surface of balls run into each other, as a volume is rendered; grey, on black."""
    y, x = np.mgrid[:600, :800]
    balls = ((400, 290, 170, 0), (400, 300, 60, 120), (330, 250, 45, 110), (470, 250, 45, 110), (400, 440, 110, 0))
    heights = [np.sqrt(np.clip(r * r - (x - cx) ** 2 - (y - cy) ** 2, 0, None)) + lift for cx, cy, r, lift in balls]
    body = heights[0] + heights[4] > 0
    height = cv2.GaussianBlur(np.where(body, np.maximum.reduce(heights), 0), (0, 0), 8)
    down, across = np.gradient(height)
    light = (0.4 * across + 0.5 * down + 0.77) / np.sqrt(1 + across**2 + down**2)
    noise = np.random.default_rng(1).normal(0, 2, body.shape)
    return np.where(height > 4, 90 + 150 * light.clip(0, 1) + noise, 0).clip(0, 255).astype(np.uint8)


def test_a_rendered_surface_and_the_same_shape_in_speckle():
    surface, box = rendered_surface(), (200, 100, 600, 560)
    rng = np.random.default_rng(0)
    speckle = np.hypot(*(cv2.GaussianBlur(rng.normal(0, 1, surface.shape), (0, 0), 2.5) for _ in range(2)))
    grainy = (surface * speckle / speckle.mean()).clip(0, 255).astype(np.uint8)
    for tint in ("copper", "candle"):
        assert content_of_picture(tinted(surface, tint), box) == "render_3d"
        assert content_of_picture(tinted(grainy, tint), box) == "b_mode"
    # In grey, or in a tint of B-mode, it could be anything.
    assert content_of_picture(surface, box) == content_of_picture(tinted(surface, "sepia"), box) == "b_mode"


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("0001", None), ("0010", "colour_flow"), ("0011", "colour_flow"), ("0100", "colour_flow"), ("0002", "m_mode"),
        ("0021", "m_mode"), ("0009", "spectral"), ("0004", "spectral"), ("0040", "render_3d"), ("001B", "spectral"),
        ("0200", None), ("", None), ("OBST", None), ("1", None), ("CANARY 7741", None),
    ],
)  # fmt: skip
def test_modes_of_the_image_type(mode, expected):
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OBSTETRICAL", mode]
    assert content_from_dicom(ds, SHAPE) == expected
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    assert content_from_dicom(ds, SHAPE) is None
    ds.ImageType = "0010"
    assert content_from_dicom(ds, SHAPE) is None


@pytest.mark.parametrize(
    "regions, expected",
    [
        ([(10, 10, 790, 590, 1, 1)], None),
        ([(10, 10, 790, 590, 1, 1), (20, 20, 60, 200, 0, 13), (10, 500, 790, 590, 4, 10)], None),
        ([(10, 10, 790, 590, 1, 2)], "colour_flow"),
        ([(10, 10, 790, 590, 1, 1), (200, 200, 400, 400, 1, 2)], "colour_flow"),
        ([(10, 10, 790, 290, 1, 1), (10, 310, 790, 590, 2, 1)], "m_mode"),
        ([(10, 10, 790, 290, 1, 2), (10, 310, 790, 590, 3, 3)], "spectral"),
        ([(10, 10, 790, 290, 1, 1), (10, 310, 790, 590, 3, 4)], "spectral"),
        ([(10, 10, 390, 590, 1, 1), (410, 10, 790, 590, 1, 1)], "dual"),
        ([(10, 10, 390, 590, 1, 1), (410, 10, 790, 590, 1, 2)], "dual"),
        ([(10, 10, 790, 590, 1, 1), (20, 20, 120, 90, 1, 1)], None),
        ([(10, 310, 5000, 5900, 3, 3)], None),  # written for a frame of another size
        ([(10, 10, 20, 20, 2, 1)], None),
    ],
)
def test_regions(regions, expected):
    ds = Dataset()
    for *box, spatial, kind in regions:
        add_region(ds, tuple(box), kind=kind, spatial=spatial)
    assert content_from_dicom(ds, SHAPE) == expected
    assert expected is None or expected in CONTENTS


def test_regions_without_numbers_say_nothing():
    ds = Dataset()
    add_region(ds, (10, 10, 790, 590), kind=3, spatial=3)
    del ds.SequenceOfUltrasoundRegions[0].RegionSpatialFormat
    del ds.SequenceOfUltrasoundRegions[0].RegionDataType
    assert content_from_dicom(ds, SHAPE) is None


# What each real ultrasound file of pydicom and pydicom-data is flagged as, checked by looking at it: the LOGIQ 700 is
# power Doppler, "color" an echo with colour flow, the ALOKA a dual screen; the Philips, EPIQ and SonoSite are B-mode.
REAL = {
    "colour_flow": (
        "US1_UNCR", "US1_UNCI", "US1_J2KR", "US1_J2KI", "examples_rgb_color", "examples_jpeg2k", "ExplVR_BigEnd",
        "color-pl", "color-px",
    ),
    "dual": ("gdcm-US-ALOKA-16", "gdcm-US-ALOKA-16_big"),
    "b_mode": (
        "OBXXXX1A", "OBXXXX1A_2frame", "OBXXXX1A_expb", "OBXXXX1A_expb_2frame", "OBXXXX1A_rle", "OBXXXX1A_rle_2frame",
        "examples_palette", "examples_ybr_color", "color3d_jpeg_baseline", "JPGLosslessP14SV1_1s_1f_8b",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("expected", "name"), [(kind, name) for kind, names in REAL.items() for name in names])
def test_real_dicom_files(expected, name):
    data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
    roots = [Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"]
    path = next(path for root in roots for path in sorted(root.rglob(f"{name}.dcm")))
    try:
        frames = list(read_scan(path))
    except RejectedScan as refusal:
        assert refusal.reason == "unsupported_encoding"
        pytest.skip("no decoder for this file is installed")
    for frame in frames:
        region = frame.region or (0, 0, frame.pixels.shape[1], frame.pixels.shape[0])
        assert (frame.content or content_of_picture(frame.pixels, region)) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 1100), st.booleans(), st.integers(0, 2**16), st.data())
def test_any_picture_has_a_content(height, width, colour, seed, data):
    rng = np.random.default_rng(seed)
    depth = (3,) if colour else ()
    rows = rng.integers(0, 2, (height, 1, *(1 for _ in depth)))
    pixels = (rng.integers(0, 256, (height, width, *depth)) * rows).astype(np.uint8)
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    region = (x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height)))
    assert content_of_picture(pixels, region) in CONTENTS
