"""Breaks this process at the n-th operation on a file under the data root: a kill, a full disk, a read-only one.

The operations are Python's own audit events (opening for writing, renaming, linking, making and removing, changing
modes) and `os.fsync`, which has none: no step of the product is named here, so a new one is swept as well. What a
library writes behind Python's back is broken before and after, where the product syncs and renames it.
"""

import errno
import os
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

KILL, FULL, READ_ONLY = "kill", "full", "read-only"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# Event → places of its paths and of the folders' handles that they are relative to.
_EVENTS = {
    "open": ((0, None),),
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.chmod": ((0, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
# What a full disk refuses; the rest is done.
NEEDS_SPACE = frozenset({"open", "os.mkdir", "os.link", "fsync"})


@dataclass
class Faults:
    """root: data root; what: KILL, FULL, READ_ONLY or "" to count only; at: number of the operation, from 1, or its
    name, of which the first is meant. A kill comes once, before the operation; a full or read-only disk stays so.
    """

    root: Path
    what: str = ""
    at: int | str = 0
    seen: list[str] = field(default_factory=list)
    met: bool = False

    def arm(self) -> None:
        """From now on, for the life of this process."""
        sync = os.fsync

        def fsync(handle: int) -> None:
            self.meet("fsync", (os.readlink(f"/proc/self/fd/{handle}"),))
            sync(handle)

        os.fsync = fsync
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple) -> None:
        if event not in _EVENTS or (event == "open" and (isinstance(args[0], int) or not args[2] & _WRITES)):
            return
        paths = [_path(args[place], args[handle] if handle is not None else -1) for place, handle in _EVENTS[event]]
        self.meet(event, tuple(paths))

    def meet(self, event: str, paths: tuple[str, ...]) -> None:
        """An operation is about to be done."""
        inside = [p.removeprefix(f"{self.root}/") for p in paths if p.startswith(f"{self.root}/")]
        if not inside or inside[0].startswith("locks/"):
            return
        if _changes_nothing(event, paths[0]) or (event == "fsync" and self.seen and self.seen[-1].startswith("fsync")):
            return  # as if the next were broken
        self.seen.append(f"{event} {' -> '.join(inside)}")
        self.met = self.met or self.at in (len(self.seen), named(self.seen[-1]))
        if not self.what or not self.met:
            return
        if self.what == KILL:
            os.killpg(0, signal.SIGKILL)
        if self.what == READ_ONLY or event in NEEDS_SPACE:
            number = errno.EROFS if self.what == READ_ONLY else errno.ENOSPC
            raise OSError(number, os.strerror(number), paths[0])


def named(operation: str) -> str:
    """The operation's name: the same in every run."""
    return re.sub(r"\.(tmp|old)-\d+-[0-9a-f]{8}|(?<=\.pt)\.\w{8}\.tmp", r".*", operation)


def _changes_nothing(event: str, path: str) -> bool:
    """Whether what is there will be made once more, or what is not there removed, or made in no folder."""
    if event == "os.mkdir":
        return os.path.lexists(path) or not os.path.isdir(os.path.dirname(path))
    return event in ("os.remove", "os.rmdir") and not os.path.lexists(path)


def _path(path: object, handle: object) -> str:
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    name = os.fsdecode(path)
    if isinstance(handle, int) and handle >= 0 and not os.path.isabs(name):
        return os.path.join(os.readlink(f"/proc/self/fd/{handle}"), name)
    return os.path.abspath(name)
