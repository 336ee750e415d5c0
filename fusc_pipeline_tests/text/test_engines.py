"""The registry of engines: names, sizes, identities; choosing one costs no heavy import."""

import pickle
import subprocess
import sys

import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.engines import CANVAS, engine_factory, engine_identity


def test_an_unknown_engine_is_named_with_the_known_ones():
    with pytest.raises(BadSetting, match="'tesseract'; the OCR engines are easyocr and rapidocr"):
        engine_factory("tesseract")


def test_a_small_canvas_is_refused():
    with pytest.raises(BadSetting, match="canvas is 100; use 0"):
        engine_factory("rapidocr", 100)


def test_a_factory_travels_to_a_worker_and_makes_its_engine():
    engine = pickle.loads(pickle.dumps(engine_factory("rapidocr", 480)))()  # noqa: S301
    assert (engine.name, engine.canvas) == ("rapidocr", 480)
    assert engine_factory("rapidocr")().canvas == CANVAS["rapidocr"]


def test_engine_canvas_and_models_identify_what_was_read():
    seen = [engine_identity("easyocr"), engine_identity("rapidocr"), engine_identity("easyocr", 800)]
    assert len({repr(identity) for identity in seen}) == 3
    assert engine_identity("easyocr", CANVAS["easyocr"]) == engine_identity("easyocr")


def test_the_registry_imports_no_engine():
    code = """
import sys
import fusc_pipeline.text.engines
print([m for m in ("torch", "onnxruntime", "easyocr", "rapidocr", "cv2") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
