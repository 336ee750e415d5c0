"""Maps a function over a stream in worker processes that may die, hang or grow without harm to the rest.

The package's one way of doing parallel work: results keep the order, few items are in flight, a worker has a memory
limit and a time limit per item and is replaced when it ends. What is computed is the caller's business.
"""

import contextlib
import itertools
import multiprocessing
import os
import pickle
import resource
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from fusc_pipeline.base.compute import usable_cores
from fusc_pipeline.base.errors import FuscError

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 2
# Items taken from the stream per worker and not given back yet: enough to bridge a slow one, few enough for a stream.
_AHEAD = 3


@dataclass(frozen=True)
class Lost:
    """An item that no worker gave back. too_slow: it took longer than the time limit; else its workers ended.

    item: as it came. attempts: workers it was tried in. exit_code: of the last one, negative for a signal. error: what
    the function raised there, None when the process itself died.
    """

    item: Any
    too_slow: bool
    attempts: int
    exit_code: int | None = None
    error: Exception | None = None


class WorkerLost(RuntimeError):
    """A worker process ended without a result, twice on the same item."""


def guarded_map(
    prepare: Callable[[], Callable[[T], R]],
    items: Iterable[T],
    workers: int = 0,
    *,
    memory_limit: int | None = None,
    seconds: float | None = None,
) -> Generator["R | Lost", None, None]:
    """One result, or Lost, per item and in the order of `items`, which is consumed lazily.

    prepare: picklable, called once in each worker; gives the function. workers: spawned processes of one thread each
    (0: one per core this process may use). memory_limit: bytes of private memory a worker may map (RLIMIT_DATA), None
    for no limit. seconds: wall time one item may take, None for no limit.

    A worker that dies (memory limit, OOM killer, crash) or whose function raises is replaced and its item tried once
    more; one that is too slow is killed and its item is not tried again. Raises the FuscError that `prepare` raises,
    and a FuscError when a worker ends before it is ready.
    """
    pool = _Pool(prepare, memory_limit, seconds)
    try:
        yield from pool.run(iter(items), workers or usable_cores())
    finally:
        pool.close()


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int = 0) -> Iterator[R]:
    """function(item) in the order of `items`, computed as in `guarded_map`; with one worker in this process.

    `function` must be picklable. What it raises is raised here; WorkerLost when a worker died twice on one item.
    """
    count = workers or usable_cores()
    if count == 1:
        yield from map(function, items)
        return
    with contextlib.closing(guarded_map(partial(_same, function), items, count)) as results:
        for result in results:
            if isinstance(result, Lost):
                raise result.error or WorkerLost(
                    f"a worker process died {result.attempts} times on one item (exit code {result.exit_code}): "
                    "give it more memory, or use one worker to see the error"
                )
            yield result


def _same(function: Callable[[T], R]) -> Callable[[T], R]:
    return function


@dataclass
class _Job:
    index: int
    item: Any
    attempts: int = 0


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    channel: Connection
    ready: bool = False
    job: _Job | None = None
    since: float = 0.0


@dataclass
class _Pool:
    prepare: Callable[[], Callable[[Any], Any]]
    memory_limit: int | None
    seconds: float | None
    workers: list[_Worker] = field(default_factory=list)
    waiting: deque[_Job] = field(default_factory=deque)
    done: dict[int, Any] = field(default_factory=dict)

    def run(self, items: Iterator[Any], n_workers: int) -> Iterator[Any]:
        """Results in order; see `guarded_map`."""
        taken, given, exhausted = 0, 0, False
        while True:
            if not exhausted:
                wanted = _AHEAD * n_workers - (taken - given)
                fresh = [_Job(taken + i, item) for i, item in enumerate(itertools.islice(items, wanted))]
                exhausted = len(fresh) < wanted
                taken += len(fresh)
                self.waiting.extend(fresh)
            if given == taken:
                return
            while len(self.workers) < min(n_workers, taken - given):
                self._start()
            for worker in self.workers:
                if worker.ready and worker.job is None and self.waiting:
                    self._send(worker, self.waiting.popleft())
            self._collect()
            while given in self.done:
                yield self.done.pop(given)
                given += 1

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, self.memory_limit, self.seconds), daemon=True, name="guarded-worker"
        )
        process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        # After the start, so that what it imports is imported with one thread and within the memory limit.
        self._tell(worker, self.prepare)

    def _send(self, worker: _Worker, job: _Job) -> None:
        worker.job, worker.since = job, time.monotonic()
        self._tell(worker, job.item)

    @staticmethod
    def _tell(worker: _Worker, message: Any) -> None:
        # A worker that has just died is noticed by the end of its channel when collecting.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.channel.send(message)

    def _collect(self) -> None:
        """Waits until a worker says something, dies or runs out of time, and handles it."""
        by_channel = {worker.channel: worker for worker in self.workers}
        heard = [channel for channel in wait(list(by_channel), self._patience()) if isinstance(channel, Connection)]
        for channel in heard:
            worker = by_channel[channel]
            try:
                kind, value = channel.recv()
            except (EOFError, OSError):
                self._bury(worker, None)
                continue
            if kind == "refused":
                raise value
            if kind == "raised":
                self._bury(worker, value)
                continue
            if kind == "result" and worker.job is not None:
                self.done[worker.job.index] = value
                worker.job = None
            worker.ready = True
        if self.seconds is None:
            return
        # Only workers that have said nothing: this process may have come back late itself.
        now = time.monotonic()
        for worker in [w for w in self.workers if w.job is not None and w.channel not in heard]:
            if now - worker.since > self.seconds:
                worker.process.kill()
                self._remove(worker)
                job = worker.job
                assert job is not None
                self.done[job.index] = Lost(job.item, True, job.attempts + 1, worker.process.exitcode)

    def _patience(self) -> float | None:
        """Seconds until the first worker runs out of time."""
        if self.seconds is None:
            return None
        started = [worker.since for worker in self.workers if worker.job is not None]
        return max(min(started) + self.seconds - time.monotonic(), 0.0) + 0.01 if started else None

    def _bury(self, worker: _Worker, error: Exception | None) -> None:
        """Take a worker that ended out of the pool; its item is tried once more, or is lost."""
        self._remove(worker)
        code, job = worker.process.exitcode, worker.job
        if not worker.ready:
            limit = "none" if self.memory_limit is None else f"{self.memory_limit / 1e9:.1f} GB"
            raise FuscError(
                f"a worker process ended with exit code {code} before it was ready (memory limit {limit}): "
                "raise the memory limit, or compute in this process to see the error"
            ) from error
        if job is None:
            return
        job.attempts += 1
        if job.attempts < _ATTEMPTS:
            self.waiting.appendleft(job)
        else:
            self.done[job.index] = Lost(job.item, False, job.attempts, code, error)

    def _remove(self, worker: _Worker) -> None:
        worker.channel.close()
        _end(worker.process, 5)
        self.workers.remove(worker)

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.channel.close()
            worker.process.terminate()
        for worker in self.workers:
            _end(worker.process, 5)
        self.workers.clear()


def _end(process: multiprocessing.process.BaseProcess, seconds: float) -> None:
    """Wait for a process to end by itself, then kill it."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


def _work(channel: Connection, memory_limit: int | None, seconds: float | None) -> None:
    """A worker's life: limits, the function, items until the channel closes or something is raised."""
    # An interrupt is the parent's to handle: it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Workers are the parallelism: a library's own threads on shared cores only slow them down.
    os.environ["OMP_NUM_THREADS"] = "1"
    # What a crash would write to the disk holds the item, which may be a delivered file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_limit is not None:
        # Not RLIMIT_AS: torch's CUDA build reserves tens of gigabytes of addresses it never uses.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    try:
        prepare = channel.recv()
        import cv2

        cv2.setNumThreads(1)
        function = prepare()
    except FuscError as refusal:
        channel.send(("refused", refusal))
        return
    channel.send(("ready", None))
    while True:
        try:
            item = channel.recv()
        except EOFError:
            return
        # The parent ends a worker that is too slow; this ends one whose parent is gone.
        signal.setitimer(signal.ITIMER_REAL, 2 * (seconds or 0.0))
        try:
            answer = ("result", function(item))
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller, who gets it
            answer = ("raised", _portable(error))
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        try:
            channel.send(answer)
        except BrokenPipeError:
            return
        if answer[0] == "raised":
            # What a failure left behind (memory, a library's state) must not reach the next item.
            return


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; its type and words alone where it cannot be sent to another process."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
