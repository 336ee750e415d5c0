"""Map a pure function over a stream in worker processes: ordered results, a bounded number in flight."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from fusc_pipeline.compute import usable_cores

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT = 4  # chunks queued per worker: enough to keep it busy, few enough that a stream stays a stream


@contextlib.contextmanager
def worker_pool(workers: int = 0) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes of one thread each; 0: one per core this process may use."""
    count = workers or usable_cores()
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield pool


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int = 0, chunk: int = 8) -> Iterator[R]:
    """Yield function(item) in the order of `items`, computed by `workers` spawned processes (0: one per usable core).

    One worker computes in this process. `function` must be importable (spawn). An exception of `function` is raised
    here; a worker killed from outside raises `concurrent.futures.process.BrokenProcessPool`.
    """
    count = workers or usable_cores()
    if count == 1:
        yield from map(function, items)
        return
    with worker_pool(count) as pool:
        waiting: deque = deque()
        try:
            for piece in _chunks(items, chunk):
                waiting.append(pool.submit(_apply, function, piece))
                if len(waiting) >= count * IN_FLIGHT:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    piece: list[T] = []
    for item in items:
        piece.append(item)
        if len(piece) == size:
            yield piece
            piece = []
    if piece:
        yield piece


def _apply(function: Callable[[T], R], piece: list[T]) -> list[R]:
    return [function(item) for item in piece]


def _one_thread() -> None:
    """Workers are the parallelism: a library's own threads on shared cores only slow them down."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)
