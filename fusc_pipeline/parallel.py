"""Map a pure function over a stream in worker processes: ordered results, a bounded number in flight."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT = 4  # chunks queued per worker: enough to keep it busy, few enough that a stream stays a stream


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int, chunk: int = 8) -> Iterator[R]:
    """Yield function(item) in the order of `items`, computed by `workers` spawned processes of one thread each.

    workers <= 1 computes in this process. `function` must be importable (spawn). An exception of `function` is raised
    here; a worker killed from outside raises `concurrent.futures.process.BrokenProcessPool`.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    chunks = _chunks(items, chunk)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        waiting: deque = deque()
        try:
            for piece in chunks:
                waiting.append(pool.submit(_apply, function, piece))
                if len(waiting) >= workers * IN_FLIGHT:
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
