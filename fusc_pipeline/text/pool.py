"""Reads many frames in several processes: order kept, few in flight, memory bounded, no frame lost to a dead worker.

Knows engines only by a factory that makes one; which engine, and what the words mean, is others' business.
"""

import multiprocessing
import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait

import cv2
import numpy as np

from fusc_pipeline.errors import BadInput, BadSetting, FuscError
from fusc_pipeline.png import decode_png
from fusc_pipeline.text.engine import OcrEngine, Word

Frame = np.ndarray | bytes
EngineFactory = Callable[[], OcrEngine]

# EasyOCR at 640 px peaks at 1.3 GB resident; torch's CUDA build needs about 1 GB of it to be imported.
DEFAULT_MEMORY_LIMIT = 2_500_000_000
_ATTEMPTS = 2


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

    A worker that dies (memory limit, OOM killer, crash) is replaced and its frame read once more; when that kills the
    new worker too, the frame comes back with an error. Raises what the factory raises when an engine cannot be made.
    """
    if n_workers < 0:
        raise BadSetting(f"n_workers is {n_workers}; use 0 (this process) or the number of worker processes")
    if n_workers == 0:
        engine = engine_factory()
        for image_id, frame in frames:
            yield _read(engine, image_id, frame)
        return
    pool = _Pool(engine_factory, memory_limit)
    try:
        yield from pool.run(iter(frames), n_workers)
    finally:
        pool.close()


def _read(engine: OcrEngine, image_id: str, frame: Frame) -> Reading:
    try:
        return Reading(image_id, engine.read(decode_png(frame) if isinstance(frame, bytes) else frame))
    except BadInput as refusal:
        return Reading(image_id, None, str(refusal))


@dataclass
class _Job:
    index: int
    image_id: str
    frame: Frame
    attempts: int = 0


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    channel: Connection
    job: _Job | None = None
    ready: bool = False


@dataclass
class _Pool:
    engine_factory: EngineFactory
    memory_limit: int | None
    workers: list[_Worker] = field(default_factory=list)

    def run(self, frames: Iterator[tuple[str, Frame]], n_workers: int) -> Iterator[Reading]:
        waiting: deque[_Job] = deque()
        done: dict[int, Reading] = {}
        taken, given, exhausted = 0, 0, False
        # Frames read ahead of the oldest unfinished one: enough to keep every worker busy, no more.
        window = 3 * n_workers
        while True:
            while not exhausted and taken - given < window:
                try:
                    image_id, frame = next(frames)
                except StopIteration:
                    exhausted = True
                else:
                    waiting.append(_Job(taken, image_id, frame))
                    taken += 1
            if exhausted and given == taken:
                return
            while len(self.workers) < min(n_workers, taken - given):
                self._start()
            for worker in self.workers:
                if worker.ready and worker.job is None and waiting:
                    self._send(worker, waiting.popleft())
            self._collect(waiting, done)
            while given in done:
                yield done.pop(given)
                given += 1

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self.engine_factory, self.memory_limit)
        process = context.Process(target=_work, args=arguments, daemon=True, name="ocr-worker")
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))

    def _send(self, worker: _Worker, job: _Job) -> None:
        worker.job = job
        try:
            worker.channel.send((job.image_id, job.frame))
        except (BrokenPipeError, ConnectionResetError):
            # It died between two frames; its end of file is seen when collecting.
            return

    def _collect(self, waiting: deque[_Job], done: dict[int, Reading]) -> None:
        """Waits until at least one worker says something or dies, and handles it."""
        by_channel = {worker.channel: worker for worker in self.workers}
        for channel in wait(list(by_channel)):
            worker = by_channel[channel]
            try:
                message = channel.recv()
            except (EOFError, ConnectionResetError):
                self._bury(worker, waiting, done)
                continue
            if isinstance(message, FuscError):
                raise message
            if isinstance(message, Reading) and worker.job is not None:
                done[worker.job.index] = message
                worker.job = None
            worker.ready = True

    def _bury(self, worker: _Worker, waiting: deque[_Job], done: dict[int, Reading]) -> None:
        worker.process.join()
        worker.channel.close()
        self.workers.remove(worker)
        code = worker.process.exitcode
        limit = "none" if self.memory_limit is None else f"{self.memory_limit / 1e9:.1f} GB"
        if not worker.ready:
            raise FuscError(
                f"an OCR worker ended with exit code {code} before it was ready (memory limit {limit}): "
                "raise the memory limit, or set the number of workers to 0 to see the error"
            )
        job = worker.job
        if job is None:
            return
        job.attempts += 1
        if job.attempts < _ATTEMPTS:
            waiting.appendleft(job)
            return
        why = f"OCR worker died {job.attempts} times on this frame (exit code {code}, memory limit {limit})"
        done[job.index] = Reading(job.image_id, None, why)

    def close(self) -> None:
        for worker in self.workers:
            worker.channel.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers.clear()


def _work(channel: Connection, engine_factory: EngineFactory, memory_limit: int | None) -> None:
    """A worker's life: limit, engine, frames until the channel closes. Any error but a refusal ends the process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)
    if memory_limit is not None:
        # Not RLIMIT_AS: torch's CUDA build reserves tens of gigabytes of addresses it never uses.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    try:
        engine = engine_factory()
    except FuscError as refusal:
        channel.send(refusal)
        return
    channel.send("ready")
    while True:
        try:
            image_id, frame = channel.recv()
        except EOFError:
            return
        channel.send(_read(engine, image_id, frame))
