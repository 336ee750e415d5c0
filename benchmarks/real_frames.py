"""Text removal on real frames: words left by either engine, repairs, and a contact sheet of before and after.

    python benchmarks/real_frames.py [FOLDER ...] [--sheet sheets/real] [--most 3]

FOLDER: frames as DICOM, PNG, JPEG or TIFF (default: the 46 public frames in shared/scans beside this repository). Every
frame is read by EasyOCR, cleaned as `clean_images` does it, and the result is read by both engines at full size. Prints
one line a frame; a word left is one of three letters or more, read with a confidence above 0.5. The sheet is a series
of pages: each frame at full size beside its cleaned image, to be looked at one by one. They show what was delivered, so
keep them where the frames are kept.
"""

import argparse
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.base.png import encode_png
from fusc_pipeline.scans.fan import NoFan, find_fan
from fusc_pipeline.scans.frame_content import content_of_picture
from fusc_pipeline.scans.frames import Frame, ReadLimits
from fusc_pipeline.scans.reading import RejectedScan, read_scan
from fusc_pipeline.text.clean_scan import MOST_INK, checker, remove_and_check
from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
from fusc_pipeline.text.engine import Word
from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

SURE, LETTERS = 0.5, 3
PAGE_HEIGHT = 2400
DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "scans"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[DEFAULT / "sononet", DEFAULT / "fetal_planes_db"])
    parser.add_argument("--sheet", type=Path, help="where the pages go: <sheet>-01.png and so on")
    parser.add_argument("--most", type=int, default=3, help="frames per multi-frame file")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    reader, second, check = EasyOcrEngine(), RapidOcrEngine.sensitive(), checker()
    sheet = Sheet(options.sheet) if options.sheet else None
    frames = repaired = quarantined = 0
    left_by = {reader.name: 0, second.name: 0}
    seconds = {"read": 0.0, "clean and check": 0.0}
    for name, frame in frames_of(options.folders, options.most):
        frames += 1
        try:
            fan = find_fan(frame.pixels, frame.region)
        except NoFan as reason:
            quarantined += 1
            print(f"{name}: quarantined: {reason}")
            continue
        started = time.process_time()
        words = reader.read(frame.pixels)
        seconds["read"] += time.process_time() - started
        started = time.process_time()
        removed, repairs, still = remove_and_check(frame.pixels, fan, words, int(image_id(frame.pixels)[:8], 16), check)
        seconds["clean and check"] += time.process_time() - started
        repaired += repairs > 0
        x0, y0, x1, y1 = fan.box
        crop = np.ascontiguousarray(removed.image[y0:y1, x0:x1])
        left = {engine.name: left_over(engine.read(crop)) for engine in (reader, second)}
        for engine, found in left.items():
            left_by[engine] += bool(found)
        ink = float(removed.ink[fan.mask].mean())
        why = "still readable" if still else "ink" if ink > MOST_INK else ""
        quarantined += bool(why)
        content = frame.content or content_of_picture(frame.pixels, frame.region or fan.box)
        told = "; ".join(f"{engine} still reads {', '.join(found)}" for engine, found in left.items() if found)
        print(
            f"{name}: {content}, {len(words)} words, ink {ink:.1%}, repairs {repairs}"
            f"{f', quarantined ({why})' if why else ''}: {told or 'nothing left'}",
            flush=True,
        )
        if sheet:
            sheet.add(f"{name}  repairs {repairs}", frame.pixels, removed.image)
    if sheet:
        sheet.close()
    print(f"{frames} frames, {repaired} repaired, {quarantined} quarantined")
    for engine, count in left_by.items():
        print(f"frames on which {engine} still reads a word: {count}")
    for what, total in seconds.items():
        print(f"{what}: {total / max(frames, 1):.2f} CPU s a frame")


def frames_of(folders: list[Path], most: int) -> Iterator[tuple[str, Frame]]:
    """(name, frame) of every file that is a scan, in order of their names."""
    for folder in folders:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            try:
                for frame in read_scan(path, ReadLimits(frames_per_clip=most)):
                    yield f"{path.name}#{frame.frame_index}" if frame.n_frames > 1 else path.name, frame
            except RejectedScan as refusal:
                print(f"{path.name}: not taken: {refusal}")


def left_over(words: list[Word]) -> list[str]:
    """What counts as a word left, with its confidence."""
    return [
        f"{word.text!r} {word.confidence:.2f}"
        for word in words
        if word.confidence > SURE and len(re.sub(r"[^A-Za-z]", "", word.text)) >= LETTERS
    ]


class Sheet:
    """Pages of pairs at full size, as many to a page as its height takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pages = 0
        self.rows: list[np.ndarray] = []
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, title: str, before: np.ndarray, after: np.ndarray) -> None:
        colour = before if before.ndim == 3 else cv2.cvtColor(before, cv2.COLOR_GRAY2RGB)
        pair = np.concatenate([colour, cv2.cvtColor(after, cv2.COLOR_GRAY2RGB)], axis=1)
        head = np.zeros((22, pair.shape[1], 3), np.uint8)
        cv2.putText(head, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 220, 120), 1)
        row = np.concatenate([head, pair])
        if self.rows and sum(len(other) for other in self.rows) + len(row) > PAGE_HEIGHT:
            self.close()
        self.rows.append(row)

    def close(self) -> None:
        """Write the page begun, if any."""
        if not self.rows:
            return
        self.pages += 1
        width = max(row.shape[1] for row in self.rows)
        page = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in self.rows])
        self.path.with_name(f"{self.path.name}-{self.pages:02d}.png").write_bytes(encode_png(page))
        self.rows = []


if __name__ == "__main__":
    main()
