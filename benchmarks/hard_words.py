"""Words that OCR is known to miss (turned, dark, faint, stacked) on phantoms: what is left of them after cleaning.

    python benchmarks/hard_words.py --frames 300 --seed 9001 [--judge] [--sheet sheets/hard]
    python benchmarks/hard_words.py --frames 300 --seed 9001 --keep DIR      # the frames, for another version to clean
    python benchmarks/hard_words.py --kept DIR                               # by another version of the package

Each frame is read by EasyOCR and cleaned as `clean_images` does it; every third went through JPEG before. Printed: by
kind, how many words had a tenth of their ink or more left; changed pixels that were no ink; what was quarantined; CPU
seconds. --judge: both engines read each clean image in four directions, and a word of three letters or more, read with
a confidence above 0.5, is told. --plain: phantoms without these words, for damage alone.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from PIL import Image

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.render import render_frame
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.text.clean_scan import checker, remove_and_check
from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

SURE, LETTERS, LEFT = 0.5, 3, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--every", type=int, default=1, help="take each n-th of them only")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--plain", action="store_true", help="phantoms as they are without this option")
    parser.add_argument("--judge", action="store_true", help="both engines read the clean images in four directions")
    parser.add_argument("--sheet", type=Path, help="frames with a word left, before and after, go here")
    parser.add_argument("--keep", type=Path, help="write the frames and their truth here, clean nothing")
    parser.add_argument("--kept", type=Path, help="frames that --keep wrote, in place of new ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for index, frame in made(options):
            np.savez(
                options.keep / f"{index:05d}.npz", screen=frame.screen, ink=frame.ink, words=json.dumps(frame.words)
            )
        return
    measure(options, kept(options.kept) if options.kept else made(options))


def made(options: argparse.Namespace) -> Iterator[tuple[int, SimpleNamespace]]:
    """(number, frame) with screen, ink and words: kind, text and box."""
    hard = {} if options.plain else {"p_hard_words": 1.0}
    config = PhantomConfig(n_frames=options.frames, seed=options.seed, **hard)
    for index in range(0, options.frames, options.every):
        frame = render_frame(config, index)
        screen = through_jpeg(frame.screen) if index % 3 == 2 else frame.screen
        words = [(word.kind, word.text, word.box) for word in frame.hard_words]
        yield index, SimpleNamespace(screen=screen, ink=frame.ink, words=words)


def kept(folder: Path) -> Iterator[tuple[int, SimpleNamespace]]:
    """What `--keep` wrote."""
    for path in sorted(folder.glob("*.npz")):
        held = np.load(path)
        words = json.loads(str(held["words"]))
        yield int(path.stem), SimpleNamespace(screen=held["screen"], ink=held["ink"], words=words)


def through_jpeg(screen: np.ndarray) -> np.ndarray:
    """As many machines export it."""
    _, data = cv2.imencode(".jpg", screen[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


def measure(options: argparse.Namespace, frames: Iterator[tuple[int, SimpleNamespace]]) -> None:
    """Clean, count, print."""
    reader, second, check = EasyOcrEngine(), RapidOcrEngine.sensitive(), checker()
    written, left, tally, seconds = Counter(), Counter(), Counter(), Counter()
    beside = []
    for index, frame in frames:
        tally["frames"] += 1
        try:
            fan = find_fan(frame.screen)
        except NoFan as reason:
            tally["no fan"] += 1
            print(f"{index}: {reason}")
            continue
        started = time.process_time()
        words = reader.read(frame.screen)
        seconds["read"] += time.process_time() - started
        started = time.process_time()
        seed = int(image_id(frame.screen)[:8], 16)
        removed, repairs, still = remove_and_check(frame.screen, fan, words, seed, check)
        seconds["clean and check"] += time.process_time() - started
        tally["repaired"] += bool(repairs)
        beside.append(float((removed.ink & ~frame.ink)[fan.mask].mean()))
        if still:
            tally["quarantined"] += 1
            print(f"{index}: quarantined, {frame.words}")
            continue
        told = []
        for kind, text, (x0, y0, x1, y1) in frame.words:
            here = np.s_[y0:y1, x0:x1]
            ink = frame.ink[here] & fan.mask[here]
            share = float((ink & ~removed.ink[here]).sum() / max(1, ink.sum()))
            written[kind] += 1
            if share >= LEFT:
                left[kind] += 1
                told.append(f"{kind} {text!r} {share:.0%} of its ink left")
        x0, y0, x1, y1 = fan.box
        if options.judge:
            crop = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
            read = [f"{e.name} reads {text}" for e in (reader, second) for text in in_four_directions(e, crop)]
            tally["legible"] += bool(read)
            told += read
        if told:
            print(f"{index}: {'; '.join(told)}", flush=True)
            if options.sheet:
                grey = cv2.cvtColor(frame.screen, cv2.COLOR_RGB2GRAY)
                options.sheet.mkdir(parents=True, exist_ok=True)
                pair = np.concatenate([grey, removed.image], axis=1)
                Image.fromarray(pair).save(options.sheet / f"{index:05d}.png")
    print("words with ink left, by kind:", {kind: f"{left[kind]}/{n}" for kind, n in sorted(written.items())})
    print(f"words with ink left: {left.total()} of {written.total()}; {dict(tally)}")
    print(f"changed pixels that were no ink: {100 * np.mean(beside):.2f} % of the fan")
    print({what: f"{total / max(1, len(beside)):.2f} CPU s a frame" for what, total in seconds.items()})


def in_four_directions(engine, image: np.ndarray) -> list[str]:
    """Sure words of three letters or more, read on the image as it is and turned by 90, 180 and 270 degrees."""
    return [
        f"{word.text!r} {word.confidence:.2f} at {90 * turns}"
        for turns in range(4)
        for word in engine.read(np.ascontiguousarray(np.rot90(image, turns)))
        if word.confidence > SURE and len(re.sub(r"[^A-Za-z]", "", word.text)) >= LETTERS
    ]


if __name__ == "__main__":
    main()
