"""The OCR engines by name: how to make one in a worker process, and what identifies its readings. No engine lives here.

Importing this loads neither torch nor onnxruntime.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.text.engine import OcrEngine
from fusc_pipeline.text.weights import RAPIDOCR_HASHES, REVISIONS, WEIGHT_HASHES, rapidocr_models, resolve_weights

# Longest side each detector sees when none is set; measured on real screens (benchmarks/ocr.py --compare).
CANVAS = {"easyocr": 576, "rapidocr": 800}
SMALLEST_CANVAS = 320


def engine_factory(name: str, canvas: int = 0, weights: Path | None = None) -> Callable[[], OcrEngine]:
    """A picklable function that makes the engine `name`; its model files are verified here, before workers start.

    canvas: longest side in pixels its detector sees, 0 for the engine's own; weights: EasyOCR's folder (None: see
    `resolve_weights`). Raises BadSetting for an unknown name, a canvas too small, or missing or wrong model files.
    """
    if name not in CANVAS:
        raise BadSetting(f"burned_in_text.engine is {name!r}; the OCR engines are {' and '.join(CANVAS)}")
    if 0 < canvas < SMALLEST_CANVAS:
        raise BadSetting(f"burned_in_text.canvas is {canvas}; use 0 (the engine's own) or {SMALLEST_CANVAS} and more")
    size = canvas or CANVAS[name]
    if name == "rapidocr":
        rapidocr_models()
        return partial(_rapidocr, size)
    return partial(_easyocr, resolve_weights(weights), size)


def engine_identity(name: str, canvas: int = 0) -> dict[str, Any]:
    """Name, revision, canvas and model hashes of an engine, for the fingerprint of what it read. Loads no engine."""
    weights = RAPIDOCR_HASHES if name == "rapidocr" else WEIGHT_HASHES
    return {"engine": name, "revision": REVISIONS[name], "canvas": canvas or CANVAS[name], "weights": weights}


def _easyocr(weights: Path, canvas: int) -> OcrEngine:
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine

    return EasyOcrEngine(weights, canvas=canvas)


def _rapidocr(canvas: int) -> OcrEngine:
    from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

    return RapidOcrEngine(canvas=canvas)
