from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline_tests.scans.make import sector

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_scans = pytest.mark.skipif(not (SHARED / "scans").is_dir(), reason="the real frames of shared/scans are absent")


def iou(found, truth):
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


def typed(picture, places, size=22, fill=255):
    """The picture with words typed at (x, y)."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for (x, y), text in places:
        draw.text((x, y), text, fill=fill, font=ImageFont.load_default(size))
    return np.asarray(image)


def one_piece_without_holes(mask):
    inside, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    outside, _ = cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=8)
    return inside == 2 and outside == 2


@pytest.mark.parametrize("half_angle", [0.35, 0.55, 0.8, 1.05])
@pytest.mark.parametrize("r0", [0, 35, 90])
@pytest.mark.parametrize("scale", [1, 2])
def test_whole_sectors(half_angle, r0, scale):
    picture, truth = sector(
        360 * scale, 480 * scale, half_angle, r0 * scale, 300 * scale, apex_y=-0.6 * r0 * scale + 20 * scale
    )
    fan = find_fan(picture)
    assert iou(fan.mask, truth) > 0.98
    assert fan.confidence > 0.9
    assert fan.kind == "sector"
    y, x = np.nonzero(fan.mask)
    assert fan.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)


@pytest.mark.parametrize(
    "options",
    [
        {"apex_y": -150, "r0": 60, "r1": 470, "half_angle": 0.7},  # cut above and on both sides
        {"apex_y": -150, "r0": 60, "r1": 700, "half_angle": 0.5},  # and below
        {"apex_x": 90, "r0": 60, "r1": 330, "half_angle": 0.7},  # on one side
    ],
)
def test_sectors_that_the_frame_cuts(options):
    picture, truth = sector(**options)
    assert iou(find_fan(picture).mask, truth) > 0.97


def test_a_frame_full_of_tissue():
    picture, _ = sector(half_angle=3.2, r0=0, r1=2000)
    fan = find_fan(picture)
    assert fan.kind == "full"
    assert fan.mask.mean() > 0.985


def test_dark_tissue_inside_is_fan():
    picture, truth = sector(r0=40, r1=320)
    dark = picture.copy()
    cv2.ellipse(dark, (200, 190), (70, 50), 20, 0, 360, 0, -1)
    dark[:, 250:330][np.nonzero(truth[:, 250:330])] //= 40
    fan = find_fan(dark)
    assert iou(fan.mask, truth) > 0.97
    assert one_piece_without_holes(fan.mask)


def test_a_dark_side_is_taken_from_the_other_one():
    picture, truth = sector(r0=40, r1=320)
    y, x = np.mgrid[:360, :480]
    edge = 290 + 12 * np.sin(y / 23) + 8 * np.cos(y / 9)
    fan = find_fan(np.where(x < edge, picture, 0).astype(np.uint8))
    assert iou(fan.mask, truth) > 0.95


def specks_for(picture, darkened, share=0.08, seed=1):
    """The picture, of which in the darkened pixels only sparse short streaks of low level are left."""
    rng = np.random.default_rng(seed)
    streaks = (rng.random(picture.shape) < share / 4).astype(np.uint8) * rng.integers(2, 40, picture.shape, np.uint8)
    streaks = cv2.dilate(streaks, np.ones((1, 4), np.uint8))
    return np.where(darkened, np.where(picture > 0, streaks, 0), picture).astype(np.uint8)


def shadow(shape, edge):
    """Pixels to the right of a wavy edge."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x > edge + 9 * np.sin(y / 23) + 6 * np.cos(y / 9)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("edge", [250, 300])
def test_a_nearly_black_side_is_found_by_its_specks(edge, turned):
    picture, truth = sector(r0=40, r1=320)
    screen = specks_for(picture, shadow(picture.shape, edge))
    step = -1 if turned else 1
    assert iou(find_fan(screen[:, ::step]).mask, truth[:, ::step]) > 0.97


def test_a_nearly_black_lower_part_is_found_by_its_specks():
    picture, truth = sector(r0=40, r1=320)
    screen = specks_for(picture, shadow(picture.T.shape, 240).T)
    assert iou(find_fan(screen).mask, truth) > 0.9


def test_furniture_beside_a_nearly_black_side_stays_out():
    picture, truth = sector(r0=40, r1=320)
    dark = specks_for(picture, shadow(picture.shape, 280))
    screen = typed(dark, [((380, 30), "MARY"), ((400, 60), "Gn 4"), ((6, 8), "EXAMPLE")], size=18, fill=172).copy()
    screen[80:300, 464:472] = np.linspace(230, 0, 220, dtype=np.uint8)[:, None]
    mask = find_fan(screen).mask
    ink = (screen != dark) & ~truth
    assert iou(mask, truth) > 0.95
    assert iou(mask, find_fan(dark).mask) > 0.99
    assert np.count_nonzero(ink & mask) < 0.02 * np.count_nonzero(ink)


def test_labels_inside_leave_no_hole_and_text_outside_stays_out():
    picture, truth = sector(r0=40, r1=320)
    outside = [((6, 8), "MARY EXAMPLE"), ((360, 6), "MI 1.1"), ((380, 32), "Gn 4"), ((4, 320), "12.0 cm")]
    screen = typed(picture, [((190, 180), "4CH"), ((200, 250), "SPINE"), *outside])
    fan = find_fan(screen)
    assert iou(fan.mask, truth) > 0.98
    assert one_piece_without_holes(fan.mask)
    ink = (screen != picture) & ~truth
    assert np.count_nonzero(ink & fan.mask) < 0.02 * np.count_nonzero(ink)


def test_screen_furniture_stays_out():
    picture, truth = sector(r0=40, r1=320, apex_y=20)
    screen = np.maximum(picture, 0)
    screen[:28] = 45  # a title bar that touches nothing
    screen[60:300, 4:12] = np.linspace(255, 5, 240, dtype=np.uint8)[:, None]  # a grey bar
    screen[40:330:20, 470:478] = 255  # a ruler
    cv2.circle(screen, (180, 50), 6, 255, -1)  # the probe mark
    assert iou(find_fan(screen).mask, truth) > 0.97


def test_a_title_bar_on_the_fan_stays_out():
    picture, truth = sector(r0=40, r1=320, apex_y=-10)
    screen = picture.copy()
    screen[:50, 30:450] = 48
    screen = typed(screen, [((60, 14), "MARY EXAMPLE"), ((280, 14), "20.05.2015")], size=18)
    truth[:50] = False
    fan = find_fan(screen)
    assert iou(fan.mask, truth) > 0.97
    assert not fan.mask[:48].any()


def test_a_region_bounds_the_fan():
    picture, truth = sector()
    region = (100, 60, 400, 300)
    fan = find_fan(picture, region)
    bounded = np.zeros_like(truth)
    bounded[60:300, 100:400] = truth[60:300, 100:400]
    assert not fan.mask[~np.isin(np.arange(360), range(60, 300))].any()
    assert iou(fan.mask, bounded) > 0.96


def test_colour_makes_no_difference():
    picture, truth = sector()
    sepia = (picture[..., None] * np.array([1.0, 0.85, 0.6])).astype(np.uint8)
    assert iou(find_fan(sepia).mask, truth) > 0.98


def test_a_grey_screen():
    picture, truth = sector()
    assert iou(find_fan(np.where(truth, picture, 60).astype(np.uint8)).mask, truth) > 0.95


def other_pictures():
    rng = np.random.default_rng(0)
    words = [((10, 12 * i), "Growth report AC 153 mm HC 180 mm FL 32 mm") for i in range(28)]
    panels = np.full((360, 480), 18, np.uint8)
    panels[20:180, 20:220], panels[200:340, 20:460], panels[30:170, 250:450] = 90, 60, 75
    y, x = np.mgrid[:360, :480]
    photo = np.stack([120 + 80 * np.sin(x / 60), 110 + 90 * np.cos(y / 50), 90 + 70 * np.sin((x + y) / 80)], -1)
    noise = rng.integers(0, 256, (360, 480)).astype(np.uint8)
    yield "black", np.zeros((360, 480), np.uint8)
    yield "almost black", rng.integers(0, 3, (360, 480)).astype(np.uint8)
    yield "blank", np.full((360, 480), 90, np.uint8)
    yield "page", typed(np.full((360, 480), 245, np.uint8), words, 10, 0)
    yield "dark report", typed(np.zeros((360, 480), np.uint8), words, 10)
    yield "panels", typed(panels, words, 10)
    yield "noise", noise
    yield "half noise", np.where(x < 240, noise, 0).astype(np.uint8)
    yield "gradient", np.tile(np.linspace(0, 255, 480).astype(np.uint8), (360, 1))
    yield "photograph", photo.astype(np.uint8)
    yield "tiny", np.full((20, 20), 9, np.uint8)


@pytest.mark.parametrize("name, picture", list(other_pictures()), ids=lambda value: value if type(value) is str else "")
def test_other_pictures_have_no_fan(name, picture):
    with pytest.raises(NoFan) as caught:
        find_fan(picture)
    assert caught.value.reason


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(st.integers(0, 2**31), st.integers(48, 200), st.integers(48, 200), st.booleans(), st.integers(0, 5))
def test_any_picture_gives_a_fan_or_a_reason(seed, height, width, colour, kind):
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if colour else (height, width)
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    if kind:
        picture = cv2.GaussianBlur(picture, (0, 0), 2.0 * kind)
        picture[rng.integers(0, height) :] //= int(rng.integers(1, 40))
        picture[:, : rng.integers(0, width)] //= int(rng.integers(1, 40))
    try:
        fan = find_fan(picture)
    except NoFan as refusal:
        assert refusal.reason
        return
    assert fan.mask.shape == (height, width)
    assert one_piece_without_holes(fan.mask)
    assert 0 <= fan.confidence <= 1


def test_phantom_screens():
    config = PhantomConfig(n_frames=160)
    found = []
    for index in range(0, 160, 8):
        frame = render_frame(config, index)
        mask = find_fan(frame.screen).mask
        found.append(iou(mask, frame.fan))
        top = int(np.flatnonzero(frame.fan.any(1))[0])
        assert not mask[: top - 4].any(), "the header, where names are written, is outside"
    assert np.mean(found) > 0.97
    assert np.median(found) > 0.985
    assert min(found) > 0.8


# Frame -> kind, and the box that was checked by eye (left, top, right, bottom).
REAL = {
    "fetal_planes_db/Patient01630_Plane1_1_of_3.png": ("sector", (38, 0, 638, 391)),
    "fetal_planes_db/Patient01679_Plane4_3_of_9.png": ("sector", (0, 71, 961, 595)),
    "fetal_planes_db/Patient01690_Plane4_1_of_1.png": ("sector", (0, 97, 1137, 727)),
    "fetal_planes_db/Patient01693_Plane4_1_of_1.png": ("sector", (69, 143, 1069, 671)),
    "fetal_planes_db/Patient01715_Plane6_1_of_1.png": ("sector", (151, 0, 648, 447)),
    "fetal_planes_db/Patient01653_Plane3_9_of_11.png": ("full", (0, 0, 961, 663)),
    "sononet/4CH.tiff": ("trapezoid", (57, 74, 898, 735)),
    "sononet/FEMUR.tiff": ("trapezoid", (0, 74, 960, 735)),
    "sononet/PROFILE.tiff": ("sector", (0, 74, 960, 735)),
    "sononet/SPINE-SAGITTAL.tiff": ("sector", (0, 74, 960, 735)),
}


def real(path):
    pixels = np.asarray(Image.open(path))
    return pixels if pixels.ndim == 2 else pixels[..., :3]


@needs_scans
@pytest.mark.parametrize("name", REAL)
def test_real_frames_checked_by_eye(name):
    kind, box = REAL[name]
    fan = find_fan(real(SHARED / "scans" / name))
    assert fan.kind == kind
    assert np.abs(np.subtract(fan.box, box)).max() <= 6


@needs_scans
def test_every_real_frame_has_a_fan():
    files = sorted((SHARED / "scans").glob("*/*.*"))
    assert len(files) == 46
    for file in files:
        fan = find_fan(real(file))
        assert fan.confidence > 0.6, file.name
        assert fan.mask.mean() > 0.25, file.name
        assert one_piece_without_holes(fan.mask), file.name


@needs_scans
def test_no_title_bar_of_a_sononet_screen_is_in_the_fan():
    for file in sorted((SHARED / "scans" / "sononet").glob("*.tiff")):
        fan = find_fan(real(file))
        assert not fan.mask[:70].any(), file.name
        assert not fan.mask[:140, 880:].any(), file.name  # the settings at the right
        assert not fan.mask[:250, :14].any(), file.name  # the grey bar at the left
