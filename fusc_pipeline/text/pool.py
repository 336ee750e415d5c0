"""Reads the words of many frames in worker processes with a memory limit; no frame is lost to a dead worker.

Knows engines only by a factory that makes one. Processes, order and limits are `host.worker_pool`'s part.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.png import decode_png
from fusc_pipeline.host.worker_pool import Lost, guarded_map
from fusc_pipeline.text.engine import OcrEngine, Word

Frame = np.ndarray | bytes
EngineFactory = Callable[[], OcrEngine]

# EasyOCR at 576 px peaks at 1.3 GB resident; torch's CUDA build needs about 1 GB of it to be imported.
DEFAULT_MEMORY_LIMIT = 2_500_000_000


@dataclass(frozen=True)
class Reading:
    """What became of one frame: its words (maybe none), or `words` None and why it could not be read."""

    image_id: str
    words: list[Word] | None
    error: str | None = None


def read_frames(
    frames: Iterable[tuple[str, Frame]],
    engine_factory: EngineFactory,
    n_workers: int,
    memory_limit: int | None = DEFAULT_MEMORY_LIMIT,
) -> Iterator[Reading]:
    """Readings in the order of `frames`, which is consumed lazily.

    frames: (image_id, pixels uint8 or PNG bytes); engine_factory: picklable (a module's function or functools.partial),
    called once per process; n_workers: processes, each with one torch thread (0: read here, without a memory limit);
    memory_limit: bytes of private memory a worker may map (RLIMIT_DATA), None for no limit.

    A frame that ends its worker twice (memory limit, OOM killer, crash) comes back with an error. Raises what the
    factory raises when an engine cannot be made.
    """
    if n_workers < 0:
        raise BadSetting(f"n_workers is {n_workers}; use 0 (this process) or the number of worker processes")
    if n_workers == 0:
        yield from map(_reader(engine_factory), frames)
        return
    prepare = partial(_reader, engine_factory)
    for result in guarded_map(prepare, frames, n_workers, memory_limit=memory_limit):
        yield _unread(result, memory_limit) if isinstance(result, Lost) else result


def _reader(engine_factory: EngineFactory) -> Callable[[tuple[str, Frame]], Reading]:
    return partial(_read, engine_factory())


def _read(engine: OcrEngine, named: tuple[str, Frame]) -> Reading:
    image_id, frame = named
    try:
        return Reading(image_id, engine.read(decode_png(frame) if isinstance(frame, bytes) else frame))
    except BadInput as refusal:
        return Reading(image_id, None, str(refusal))


def _unread(lost: Lost, memory_limit: int | None) -> Reading:
    limit = "none" if memory_limit is None else f"{memory_limit / 1e9:.1f} GB"
    # The words of an error could quote what stands on the screen; its type cannot.
    how = f"exit code {lost.exit_code}" if lost.error is None else type(lost.error).__name__
    why = f"OCR worker died {lost.attempts} times on this frame ({how}, memory limit {limit})"
    return Reading(lost.item[0], None, why)
