"""Locks that the kernel frees when their holder dies, whatever killed it: `flock` on a file that stays where it is.

No lock is ever stale, so nothing has to clean up. Local file systems only.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

POLL_SECONDS = 0.5


@contextlib.contextmanager
def exclusive(
    path: Path, what: str, waiting: Callable[[str], None] | None = None, poll: float = POLL_SECONDS
) -> Iterator[bool]:
    """Hold the lock `path`; yields whether another process had it first, and so may have done the work meanwhile.

    what: who holds it, in a few words without names of patients or files; told to others that wait. waiting: called
    once with a sentence when the lock is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    waited = False
    try:
        while not try_lock(handle):
            if not waited and waiting is not None:
                waiting(f"waiting for {holder(path)}")
            waited = True
            time.sleep(poll)
        sign(handle, what)
        yield waited
    finally:
        os.close(handle)  # frees the lock


@contextlib.contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Hold the lock `path` where nobody has it, without waiting; yields whether it is held now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the lock on an open file unless somebody has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sign(handle: int, what: str) -> None:
    """Write into a lock's file who holds it."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps({"pid": os.getpid(), "what": what}).encode(), 0)


def holder(path: Path) -> str:
    """Who holds a lock, in words; what its file says may be a moment old."""
    try:
        found = json.loads(path.read_text())
        return f"{found['what']} (process {found['pid']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
