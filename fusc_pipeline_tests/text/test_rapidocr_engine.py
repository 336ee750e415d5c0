"""The second engine: offline, silent, torch-free, bounded; it reads typed words and finds none where there are none."""

import importlib.metadata
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.text import rapidocr_engine, weights
from fusc_pipeline.text.engine import OcrEngine
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine
from fusc_pipeline_tests.text.screens import fan_mask, tissue, typed


@pytest.fixture(scope="module")
def engine():
    return RapidOcrEngine()


def screen():
    first, _, box = typed(tissue(fan_mask(480, 640)), "CORD INSERTION", (230, 250), (255, 255, 60), 22)
    second, _, _ = typed(first, "MI 0.8", (20, 20), (240, 240, 240), 16)
    return second, box


def test_words_are_read_where_they_stand(engine):
    pixels, (x0, y0, x1, y1) = screen()
    words = engine.read(pixels)
    assert isinstance(engine, OcrEngine)
    assert [word.text for word in words] == ["MI 0.8", "CORD INSERTION"]
    label = words[1]
    assert label.confidence > 0.8
    assert abs(label.x0 - x0) < 8 and abs(label.x1 - x1) < 8 and label.y0 <= y0 + 3 and label.y1 >= y1 - 3
    assert engine.read(pixels) == words


def test_coloured_letters_on_bright_tissue_are_seen_by_their_chroma(engine, monkeypatch):
    """A phantom whose label the picture alone does not show to this engine."""
    pixels = render_frame(PhantomConfig(n_frames=1200, seed=21), 80).screen
    assert "FETAL BRAIN" in {word.text for word in engine.read(pixels)}
    monkeypatch.setattr(rapidocr_engine, "_COLOURED_PIXELS", pixels.size)
    assert "FETAL BRAIN" not in {word.text for word in engine.read(pixels)}


def test_a_place_read_twice_comes_once(engine):
    pixels, _ = screen()
    assert len([word for word in engine.read(pixels) if "CORD" in word.text]) == 1


def test_sensitive_reads_what_the_default_reads(engine):
    pixels, _ = screen()
    assert {"MI 0.8", "CORD INSERTION"} <= {word.text for word in RapidOcrEngine.sensitive().read(pixels)}


@pytest.mark.parametrize("shape", [(300, 400), (7, 5), (1, 1), (3, 900), (40, 1500, 3)])
def test_a_black_frame_of_any_shape_holds_no_words(engine, shape):
    assert engine.read(np.zeros(shape, np.uint8)) == []


def test_speckle_holds_no_words(engine):
    assert not [word for word in engine.read(tissue(fan_mask(480, 640))) if word.confidence > 0.5]


def test_boxes_stay_inside_the_frame(engine):
    pixels, _, _ = typed(np.zeros((60, 220), np.uint8), "HOSPITAL NAME", (-4, -4), (255, 255, 255), 24)
    words = engine.read(pixels)
    assert words and all(0 <= w.x0 < w.x1 <= 220 and 0 <= w.y0 < w.y1 <= 60 for w in words)


def test_a_long_thin_crop_is_squeezed_and_batches_are_small(engine, monkeypatch):
    """What makes the package's own class take gigabytes: one crop of 1600 x 4 pixels among six."""
    seen = []

    class Spy:
        def run(self, outputs, inputs):
            seen.append(inputs["x"].shape)
            return recogniser.run(outputs, inputs)

    recogniser = engine._recogniser
    monkeypatch.setattr(engine, "_recogniser", Spy())
    crops = [np.zeros((4, 1600, 3), np.uint8)] + [np.zeros((20, 60, 3), np.uint8)] * 40
    assert len(engine._recognise(crops)) == len(crops)
    assert max(n * width for n, _, _, width in seen) <= rapidocr_engine._MAX_BATCH_PIXELS


def test_settings_are_part_of_the_fingerprint(engine):
    assert RapidOcrEngine().fingerprint == engine.fingerprint
    others = (RapidOcrEngine(canvas=640), RapidOcrEngine.sensitive(), RapidOcrEngine(dark=True))
    assert len({e.fingerprint for e in (engine, *others)}) == 4


@pytest.mark.parametrize(("level", "ink", "at"), [(110, 0, (180, 250)), (150, 8, (200, 300)), (130, 0, (230, 200))])
def test_the_checker_sees_dark_letters_on_tissue_and_no_letters_in_its_valleys(level, ink, at):
    sensitive = RapidOcrEngine.sensitive(canvas=640)
    base = tissue(fan_mask(480, 640), seed=level, level=level)
    pixels, _, (x0, *_, y1) = typed(base, "BRANDT 1987", at, (ink, ink, ink), 20)
    (word,) = [word for word in sensitive.read(pixels) if word.confidence >= 0.8 and len(word.text) > 2]
    assert word.text == "BRANDT 1987" and abs(word.x0 - x0) < 10 and abs(word.y1 - y1) < 12
    assert not [word for word in RapidOcrEngine(canvas=640).read(pixels) if word.text == "BRANDT 1987"]
    assert not [word for word in sensitive.read(base) if word.confidence > 0.5 and len(word.text) > 1]


@pytest.mark.parametrize("canvas", [0, 10_000])
def test_an_unbounded_canvas_is_refused(canvas):
    with pytest.raises(BadSetting, match="64 to 2048"):
        RapidOcrEngine(canvas=canvas)


def test_a_changed_model_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "rapidocr"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    spec = importlib.util.spec_from_file_location("rapidocr", package / "__init__.py", submodule_search_locations=[])
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(BadSetting, match=r"does not exist.*pip install"):
        weights.rapidocr_models()
    for name in weights.RAPIDOCR_HASHES:
        (package / "models" / name).write_bytes(b"not a model")
    with pytest.raises(BadSetting, match=r"has SHA-256 .*expected 090f04ab"):
        weights.rapidocr_models()


def test_it_needs_no_torch_and_no_network_and_prints_nothing():
    """Every socket call ends the process; nothing may reach its output."""
    code = """
import socket, sys
def refuse(*_, **__):
    raise SystemExit("network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import numpy as np
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine
RapidOcrEngine().read(np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8))
raise SystemExit(sum(name in sys.modules for name in ("torch", "easyocr", "torchvision")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exactly_one_distribution_owns_cv2():
    """Two OpenCV packages overwrite each other's files, and removing either breaks the other."""
    owners = {
        dist.metadata["Name"].lower()
        for dist in importlib.metadata.distributions()
        if any(file.parts[0] == "cv2" for file in dist.files or [])
    }
    assert owners == {"opencv-python-headless"}
