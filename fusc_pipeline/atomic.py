"""Files that are seen whole or not at all: written beside their place, synced, renamed. A leaf module."""

import os
import uuid
from pathlib import Path


def replace_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to `path` so that a reader sees the old or the new content, never a part.

    mode: of a file that nobody else may read; the umask applies.
    """
    # The process's number tells `leftovers` whether somebody is still writing it.
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        write_text(temporary, text, mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a new file and have the disk keep it."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def fsync(path: Path) -> None:
    """Have the disk keep a file's content, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
