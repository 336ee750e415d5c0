"""Cleaned frames: geometry, determinism, no ink left, texture like the rest; and the colour model underneath."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.text.colour import grey_and_chroma
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.ink import find_ink, is_tissue, padded
from fusc_pipeline.text.removal import remove_text
from fusc_pipeline.text.speckle import refill
from fusc_pipeline_tests.text.screens import fan_mask, tissue, typed

YELLOW, CYAN, WHITE = (255, 255, 60), (80, 235, 255), (245, 245, 245)
FAN = fan_mask()
GREY = tissue(FAN)


def sepia(grey):
    """A strong tint, black and white at its ends."""
    level = grey.astype(float)
    bend = 4 * level * (255 - level) / 255**2
    return np.stack([np.clip(level + 18 * bend, 0, 255), level, np.clip(level - 26 * bend, 0, 255)], -1).astype(
        np.uint8
    )


def read(box, text="FEMUR"):
    return [Word(*box, text, 0.9)]


@pytest.mark.parametrize("base", [GREY, sepia(GREY)], ids=["grey", "sepia"])
@pytest.mark.parametrize("colour", [YELLOW, CYAN, WHITE])
def test_typed_text_is_gone_and_the_rest_untouched(base, colour):
    screen, ink, box = typed(base, "FEMUR", (150, 160), colour)
    removed = remove_text(screen, FAN, read(box), seed=3)
    grey, _ = grey_and_chroma(screen)
    assert removed.image.shape == screen.shape[:2] and removed.image.dtype == np.uint8
    assert not removed.image[~FAN].any()
    strong = ink & (np.abs(screen.astype(int) - typed(base, "", (0, 0), colour)[0]).max(2) > 60)
    assert removed.ink[strong].all()
    kept = FAN & ~removed.ink & ~removed.decoys
    assert np.array_equal(removed.image[kept], grey[kept])
    assert not (removed.ink & removed.decoys).any() and not (removed.ink | removed.decoys)[~FAN].any()
    # What is there now looks like tissue: same brightness and spread as before the text was typed.
    new, before = removed.image[ink].astype(float), GREY[ink].astype(float)
    assert abs(new.mean() - before.mean()) < 12
    assert 0.6 < new.std() / before.std() < 1.6


@pytest.mark.parametrize("colour", [YELLOW, CYAN])
def test_coloured_text_goes_even_when_no_word_was_read(colour):
    screen, ink, _ = typed(GREY, "SPINE", (150, 160), colour)
    removed = remove_text(screen, FAN, [], seed=0)
    assert (removed.ink & ink).sum() > 0.97 * ink.sum()


def strokes_of(screen, base):
    """(H, W) bool: where letters differ clearly from what they stand on."""
    return np.abs(screen.astype(int) - np.repeat(base[:, :, None], 3, axis=2)).max(2) > 40


@pytest.mark.parametrize(("level", "ink"), [(150, 0), (110, 6), (190, 12)])
@pytest.mark.parametrize("turns", [0, 1, 3])
def test_dark_letters_are_ink(level, ink, turns):
    base = tissue(FAN, seed=turns, level=level)
    screen, _, (x0, y0, x1, y1) = typed(base, "NOVAK ANNA", (130, 160), (ink, ink, ink))
    around = np.s_[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20]
    assert FAN[around].all()
    box, angle, fan = Word(x0, y0, x1, y1, "", 0.9), 90 * turns, FAN
    if turns:
        base, screen, fan = (np.ascontiguousarray(np.rot90(a, turns)) for a in (base, screen, FAN))
        h, w = FAN.shape
        boxes = {1: (y0, w - x1, y1, w - x0), 3: (h - y1, x0, h - y0, x1)}
        box = Word(*boxes[turns], "", 0.9, angle)
    removed = remove_text(screen, fan, [box], seed=0, decoys=0)
    strokes = strokes_of(screen, base)
    assert (removed.ink & strokes).sum() > 0.98 * strokes.sum()
    assert (removed.ink & ~strokes).sum() < 9 * strokes.sum()


def test_bright_letters_in_a_shadow_are_no_dark_ones():
    base = np.where(np.mgrid[: FAN.shape[0], : FAN.shape[1]][1] % 90 < 40, GREY // 6, GREY)
    screen, _, box = typed(base, "NOVAK ANNA", (130, 160), WHITE)
    removed = remove_text(screen, FAN, read(box), seed=0, decoys=0)
    strokes = strokes_of(screen, base)
    assert (removed.ink & strokes).sum() > 0.98 * strokes.sum()


def test_black_letters_with_a_white_rim_go_whole():
    base = tissue(FAN, level=120)
    rim, _, box = typed(base, "NOVAK", (150, 160), (255, 255, 255))
    rim = cv2.dilate(np.where(strokes_of(rim, base), 255, 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    screen, _, _ = typed(
        np.where(rim[:, :, None], 255, np.repeat(base[:, :, None], 3, axis=2)), "NOVAK", (150, 160), (0,) * 3
    )
    removed = remove_text(screen.astype(np.uint8), FAN, read(box), seed=0, decoys=0)
    changed = strokes_of(screen, base)
    assert (removed.ink & changed).sum() > 0.98 * changed.sum()


@pytest.mark.parametrize("angle", [90, 270])
def test_a_line_that_runs_upwards_is_no_tissue_however_long(angle):
    word = Word(150, 60, 172, 240, "", 0.9, angle)
    assert not is_tissue(word, FAN.shape) and is_tissue(Word(150, 60, 172, 240, "", 0.9), FAN.shape)
    assert is_tissue(Word(100, 60, 180, 260, "", 0.9, angle), FAN.shape)
    y0, y1, x0, x1 = padded(word, FAN.shape)
    assert (y0, y1, x0, x1) == (50, 250, 146, 176)


def test_text_across_the_fans_edge_leaves_no_trace_along_it():
    edge = int(np.flatnonzero(FAN[70])[0])
    screen, ink, box = typed(GREY, "FEMUR", (edge - 40, 60), WHITE)
    image = remove_text(screen, FAN, read(box), seed=0).image
    assert image[ink & FAN].max() < 1.2 * GREY[FAN].max()
    assert abs(float(image[ink & FAN].mean()) - float(GREY[ink & FAN].mean())) < 15


def test_equal_seeds_are_equal_and_others_differ():
    screen, _, box = typed(GREY, "FEMUR", (150, 160), YELLOW)
    first, again, other = (remove_text(screen, FAN, read(box), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.decoys, again.decoys)
    assert not np.array_equal(first.image, other.image)


def test_grey_frames_without_words_only_get_decoys():
    removed = remove_text(GREY, FAN, [], seed=0, decoys=0)
    assert np.array_equal(removed.image, GREY)
    with_decoys = remove_text(GREY, FAN, [], seed=0, decoys=3)
    assert with_decoys.decoys.any() and not with_decoys.ink.any()


def test_words_outside_the_fan_change_nothing_inside():
    screen, _, box = typed(GREY, "GE 12", (5, 5), WHITE)
    removed = remove_text(screen, FAN, read(box), seed=0, decoys=0)
    assert np.array_equal(removed.image, GREY)


def test_colour_flow_is_reported_and_not_painted_over():
    screen = np.repeat(GREY[:, :, None], 3, axis=2)
    vessel = np.zeros_like(GREY)
    cv2.ellipse(vessel, (200, 200), (60, 35), 0, 0, 360, 1, -1)
    speed = np.random.default_rng(0).integers(140, 255, GREY.shape)
    screen[vessel > 0] = np.stack([speed, speed // 3, speed // 8], -1).astype(np.uint8)[vessel > 0]
    removed = remove_text(screen, FAN, [], seed=0, decoys=0)
    assert removed.chroma_share == pytest.approx(vessel.sum() / FAN.sum(), rel=0.01)
    assert removed.ink[180:220, 170:230].mean() < 0.01


def test_caliper_crosses_and_measurement_panels_are_found_without_colour():
    grey = GREY.copy()
    cv2.line(grey, (145, 180), (155, 180), 250)
    cv2.line(grey, (150, 175), (150, 185), 250)
    grey[200:225, 230:290] = 40
    ink = find_ink(grey, np.zeros_like(grey), FAN, []).mask
    assert ink[180, 145:156].all() and ink[175:186, 150].all()
    assert ink[201:224, 232:288].all()
    assert ink.sum() < 1.3 * (21 + 25 * 60)


def test_a_frame_without_a_fan_is_all_zero():
    assert not remove_text(GREY, np.zeros_like(FAN), [], seed=0).image.any()


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="does not fit"):
        remove_text(GREY, FAN[:-1], [], seed=0)


def test_tinted_tissue_has_no_chroma_and_overlay_has():
    for base in (GREY, sepia(GREY)):
        screen, ink, _ = typed(base, "SPINE", (150, 160), YELLOW)
        _, chroma = grey_and_chroma(screen)
        assert np.percentile(chroma[FAN & ~ink], 99.9) < 20
        assert np.median(chroma[ink]) > 80
    assert not grey_and_chroma(GREY)[1].any()


@given(st.integers(-20, 380), st.integers(-20, 280), st.integers(1, 200), st.integers(1, 80), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_refill_changes_its_mask_only(x, y, width, height, seed):
    mask = np.zeros_like(FAN)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    mask &= FAN
    image = refill(GREY, mask, FAN, np.random.default_rng(seed))
    assert np.array_equal(image[~mask], GREY[~mask])


@given(
    st.lists(st.tuples(st.integers(0, 399), st.integers(0, 299), st.integers(1, 400), st.integers(1, 300)), max_size=4)
)
@settings(max_examples=10, deadline=None)
def test_any_boxes_are_survived(boxes):
    words = [Word(x, y, min(400, x + w), min(300, y + h), "X", 0.9) for x, y, w, h in boxes]
    removed = remove_text(GREY, FAN, words, seed=0)
    assert not removed.image[~FAN].any()
    kept = FAN & ~removed.ink & ~removed.decoys
    assert np.array_equal(removed.image[kept], GREY[kept])
