"""Plain `easyocr.Reader(["en"], gpu=False).readtext(frame)` against the pipeline's reading, on the 46 real frames.

Run by `benchmarks/ocr.py --compare`. The two take turns, a few frames each, so that other load on the machine falls on
both. Plain runs with its defaults (native size, its own threads, quantised recogniser); ours as the pipeline runs it:
`text.pool.read_frames` with two processes of one thread. Start-up is timed apart.
"""

import multiprocessing
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from true_words import read_right, truth

from fusc_pipeline.text.engines import engine_factory
from fusc_pipeline.text.pool import read_frames
from fusc_pipeline.text.weights import resolve_weights

WORKERS = 2
TURN = 12  # frames of one engine before the other's turn


@dataclass
class Tally:
    """What an engine needed and read. start: seconds until it could read; wall, cpu: seconds in all frames."""

    name: str
    start: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    texts: dict[str, list[str]] = field(default_factory=dict)


def compare(scans: Path, every: int = 1) -> None:
    """Prints times, ratios and true words of plain readtext, of the pipeline's default engine and of RapidOCR.

    every: take each n-th frame only, for a quick look.
    """
    expected = dict(list(truth().items())[::every])
    frames = {name: _pixels(scans / name) for name in expected}
    total = sum(counts.total() for counts in expected.values())
    print(f"{len(frames)} frames, {total} true words; {WORKERS} processes for ours")
    print("                   start s  wall s/frame  CPU s/frame  wall ratio  CPU ratio  true words", flush=True)
    # RapidOCR alone first: plain readtext takes turns with the default engine.
    rapid = timed_stream("rapidocr", frames, lambda turn: None)
    plain = PlainEasyOcr()
    easy = timed_stream("easyocr", frames, plain.read)
    right = {t.name: {n: read_right(e, t.texts[n]) for n, e in expected.items()} for t in (plain.tally, easy, rapid)}
    for tally in (plain.tally, easy, rapid):
        wall, cpu = tally.wall / len(frames), tally.cpu / len(frames)
        ratios = f"{plain.tally.wall / tally.wall:10.1f}  {plain.tally.cpu / tally.cpu:9.1f}"
        words = sum(counts.total() for counts in right[tally.name].values())
        print(f"{tally.name:<16} {tally.start:8.1f}  {wall:12.3f}  {cpu:11.3f}  {ratios}  {words:10d}")
    for tally in (easy, rapid):
        told_apart(plain.tally.name, right[plain.tally.name], tally.name, right[tally.name])


def told_apart(one: str, first: dict[str, Counter[str]], other: str, second: dict[str, Counter[str]]) -> None:
    """Prints which true words only one of two engines read."""
    for name, have, lack in ((one, first, second), (other, second, first)):
        only = sum((have[file] - lack[file] for file in have), Counter())
        words = ", ".join(f"{word}×{n}" if n > 1 else word for word, n in only.most_common())
        print(f"only {name} ({one} against {other}), {only.total()}: {words}")


class PlainEasyOcr:
    """EasyOCR's Reader as its own documentation calls it, but for the weights, which are not downloaded."""

    def __init__(self) -> None:
        warnings.filterwarnings("ignore", module="easyocr|torch")
        started = time.perf_counter()
        import easyocr

        self.reader = easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(resolve_weights()),
            user_network_directory=tempfile.mkdtemp(),
            download_enabled=False,
            verbose=False,
        )
        self.tally = Tally("plain readtext", start=time.perf_counter() - started)

    def read(self, turn: list[tuple[str, np.ndarray]]) -> None:
        """Reads a few frames and adds them to the tally."""
        for name, pixels in turn:
            wall, cpu = time.perf_counter(), time.process_time()
            found = self.reader.readtext(pixels)
            self.tally.wall += time.perf_counter() - wall
            self.tally.cpu += time.process_time() - cpu
            self.tally.texts[name] = [text for _, text, _ in found]


def timed_stream(
    engine: str, frames: dict[str, np.ndarray], meanwhile: Callable[[list[tuple[str, np.ndarray]]], None]
) -> Tally:
    """Reads all frames by `read_frames`, and before each turn lets `meanwhile` read the same frames.

    The clock stands still during `meanwhile`, which begins when the workers have nothing to do.
    """
    tally = Tally(f"ours ({engine})")
    marks = {"wall": time.perf_counter(), "cpu": 0.0}

    def stop() -> None:
        tally.wall += time.perf_counter() - marks["wall"]
        tally.cpu += _workers_cpu() - marks["cpu"]

    def go() -> None:
        marks.update(wall=time.perf_counter(), cpu=_workers_cpu())

    def source() -> Iterator[tuple[str, np.ndarray]]:
        # As many as the pool takes ahead, so that both workers have started when the first real frame is asked for.
        for index in range(3 * WORKERS):
            yield f"warm-up {index}", np.zeros((64, 64), np.uint8)
        _until_idle()
        tally.start, tally.wall, tally.cpu = time.perf_counter() - marks["wall"], 0.0, 0.0
        go()
        named = list(frames.items())
        for first in range(0, len(named), TURN):
            idle_seconds = _until_idle()
            stop()
            tally.wall -= idle_seconds
            meanwhile(named[first : first + TURN])
            go()
            yield from named[first : first + TURN]

    for reading in read_frames(source(), engine_factory(engine), WORKERS):
        if reading.words is None:
            raise RuntimeError(f"{reading.image_id}: {reading.error}")
        tally.texts[reading.image_id] = [word.text for word in reading.words]
        if len(tally.texts) == len(frames) + 3 * WORKERS:
            stop()
    return tally


def _workers_cpu() -> float:
    """CPU seconds of the living worker processes."""
    times = [psutil.Process(child.pid).cpu_times() for child in multiprocessing.active_children()]
    return sum(t.user + t.system for t in times)


def _until_idle(quiet: float = 0.4, step: float = 0.05) -> float:
    """Waits until the workers have used no CPU for some time, and returns how many seconds that last silence was."""
    last, since = _workers_cpu(), time.perf_counter()
    while (silence := time.perf_counter() - since) < quiet:
        time.sleep(step)
        now = _workers_cpu()
        if now > last:
            last, since = now, time.perf_counter()
    return silence


def _pixels(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path))
    return pixels if pixels.ndim == 2 else pixels[:, :, :3]
