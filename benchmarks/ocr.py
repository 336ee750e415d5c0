"""Pseudo-labels against the phantom truth, text left after cleaning, and what reading costs.

    python benchmarks/ocr.py --compare ../shared/scans         # real frames: speed and true words against EasyOCR's own
    python benchmarks/ocr.py --frames 300                      # phantom screens: precision, recall, residual text
    python benchmarks/ocr.py --frames 300 --labels-only        # the same without cleaning
    python benchmarks/ocr.py --folder ../shared/scans/sononet  # real frames: residual text only
    python benchmarks/ocr.py --dicom                           # what both engines read on pydicom-data's screens

A frame counts as readable when a person can name one view from what was typed on it. Residual text is what EasyOCR or
RapidOCR reads on the cleaned frame: a word of three letters or more with confidence above 0.5.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from fusc_pipeline.evaluation.intervals import wilson
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import PhantomFrame, render_frame
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline.text.clean_scan import checker, remove_and_check
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.engines import CANVAS, engine_factory
from fusc_pipeline.text.labels import label_readings, readings_of
from fusc_pipeline.text.matching import match_words
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300, help="phantom frames, spread over the whole set")
    parser.add_argument("--set-size", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=21, help="of the phantom set")
    parser.add_argument("--folder", type=Path, help="real frames instead of phantoms")
    parser.add_argument("--save", type=Path, help="write the cleaned frames here")
    parser.add_argument("--engine", default="easyocr", choices=("easyocr", "rapidocr"))
    parser.add_argument("--canvas", type=int, default=0, help="0: the engine's own")
    parser.add_argument("--labels-only", action="store_true", help="read and label, clean nothing")
    parser.add_argument("--compare", type=Path, metavar="SCANS", help="folder with sononet/ and fetal_planes_db/")
    parser.add_argument("--every", type=int, default=1, help="with --compare: each n-th frame only")
    parser.add_argument("--dicom", action="store_true", help="print the words on real DICOM screens")
    options = parser.parse_args()
    if options.compare:
        from ocr_compare import compare

        compare(options.compare, options.every)
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.dicom:
        print_dicom_screens()
        return
    engine = engine_factory(options.engine, options.canvas)()
    judges = [engine_factory("easyocr")(), RapidOcrEngine.sensitive()]
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
    tally, seconds, frames, left = Counter(), 0.0, 0, []
    for name, pixels, truth in source(options):
        started = time.process_time()
        words = engine.read(pixels)
        seconds += time.process_time() - started
        frames += 1
        if truth is not None:
            judge(truth, words, tally)
        if options.labels_only:
            continue
        try:
            fan = find_fan(pixels)
        except NoFan as reason:
            print(f"{name}: {reason}")
            tally["no fan"] += 1
            continue
        removed, _, _ = remove_and_check(pixels, fan, words, seed=frames, engine=checker())
        x0, y0, x1, y1 = fan.box
        image = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
        residual = [word for judge_engine in judges for word in judge_engine.read(image) if is_word(word)]
        if residual:
            left.append(name)
            print(f"{name}: left {[(word.text, round(word.confidence, 2)) for word in residual]}", flush=True)
        if options.save:
            Image.fromarray(image).save(options.save / f"{name}.png")
    print(f"{frames} frames, {seconds / frames:.3f} s CPU a frame to read; {dict(tally)}")
    if tally["readable"]:
        named = tally["right"] + tally["wrong"] + tally["false"]
        print(f"recall {interval(tally['right'], tally['readable'])}, precision {interval(tally['right'], named)}")
    if options.labels_only:
        return
    print(f"text left on {interval(len(left), frames - tally['no fan'])} of the cleaned frames")


def source(options: argparse.Namespace) -> Iterator[tuple[str, np.ndarray, PhantomFrame | None]]:
    """(name, pixels, truth or None) of each frame."""
    if options.folder:
        for path in sorted(options.folder.iterdir()):
            pixels = np.asarray(Image.open(path))
            yield path.stem, pixels if pixels.ndim == 2 else pixels[:, :, :3], None
        return
    config = PhantomConfig(n_frames=options.set_size, seed=options.seed)
    for index in np.linspace(0, options.set_size - 1, options.frames).astype(int):
        frame = render_frame(config, int(index))
        yield f"phantom-{index}", frame.screen, frame


# One screen of each machine whose files pydicom and pydicom-data ship; the pixels are public test data.
DICOM_SCREENS = {
    "GE LOGIQ 700": "US1_UNCR.dcm",
    "Philips CX50": "OBXXXX1A.dcm",
    "ALOKA SSD-4000": "gdcm-US-ALOKA-16.dcm",
    "Philips EPIQ 7C": "JPGLosslessP14SV1_1s_1f_8b.dcm",
    "SonoSite Turbo": "color3d_jpeg_baseline.dcm",
}


def print_dicom_screens() -> None:
    """What each engine reads on five real screens, bitmap fonts among them."""
    import data_store
    import pydicom

    engines = [engine_factory(name)() for name in CANVAS]
    roots = [Path(package.__file__).parent / "data" for package in (pydicom, data_store)]
    files = {path.name: path for root in roots for path in root.rglob("*.dcm")}
    for machine, name in DICOM_SCREENS.items():
        pixels = next(iter(read_scan(files[name]))).pixels
        for engine in engines:
            started = time.process_time()
            words = engine.read(pixels)
            seconds = time.process_time() - started
            print(f"{machine}, {engine.name}, {seconds:.2f} s CPU: {[word.text for word in words]}")


def judge(truth: PhantomFrame, words: list[Word], tally: Counter) -> None:
    """Adds one frame's pseudo-label to the tally, and prints what went wrong."""
    found = label_readings(readings_of(words, match_words(words)))
    if truth.label_view is not None:
        tally["readable"] += 1
        kind = "right" if found.view == truth.label_view else "wrong" if found.view else "missed"
    else:
        kind = "false" if found.view else "rightly none"
    tally[kind] += 1
    if kind in ("wrong", "missed", "false"):
        print(f"phantom-{truth.index}: {kind}: typed {truth.typed_text!r}, got {found}", flush=True)


def is_word(word: Word) -> bool:
    return word.confidence > 0.5 and len(re.sub(r"[^A-Za-z]", "", word.text)) >= 3


def interval(hits: int, n: int) -> str:
    """A share with its Wilson interval."""
    if n == 0:
        return "0/0"
    low, high = wilson(hits, n)
    return f"{hits}/{n} = {hits / n:.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    main()
