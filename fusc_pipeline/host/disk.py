"""How large files and folders are, and when they last changed, while others may be at work in them."""

import contextlib
from pathlib import Path


def newest(path: Path) -> float:
    """When anything under the path was last changed, in seconds since 1970."""
    times = [path.lstat().st_mtime]
    for inner in path.rglob("*") if path.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            times.append(inner.lstat().st_mtime)
    return max(times)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files under a folder; one that goes away meanwhile counts nothing."""
    total = 0
    for inner in [path, *path.rglob("*")] if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            total += inner.lstat().st_size if not inner.is_dir() else 0
    return total


def megabytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e6:.1f} MB"
