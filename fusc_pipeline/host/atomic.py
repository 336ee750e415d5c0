"""Files and folders that are seen whole or not at all: written beside their place, synced, renamed.

What is still being written is called `.<name>.tmp-<process>-<number>`, what steps aside for its successor
`.<name>.old-<process>-<number>`; `settle` and `leftovers` know a killed maker's by these names.
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

_UNSETTLED = re.compile(r"\.(?P<name>.+)\.(?P<kind>tmp|old)-[\w-]+")


def replace_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write `text` to `path` so that a reader sees the old or the new content, never a part.

    mode: of a file that nobody else may read; the umask applies.
    """
    with whole_file(path) as temporary:
        write_text(temporary, text, mode)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Make a file that is seen whole or not at all: yields where to write it; when the block ends well, the disk keeps
    it and it replaces `path`, else no trace of it is left."""
    temporary = temporary_name(path)
    try:
        yield temporary
        fsync(temporary)
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


def sync_folder(folder: Path) -> None:
    """Have the disk keep all of a folder: the content of its files first, then the names in it and below."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            fsync(Path(place, name))
        fsync(Path(place))


def link(source: Path, target: Path) -> None:
    """Let a file that nobody changes any more stand in a second place: a hard link, where there are none a copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if isinstance(error, FileExistsError | FileNotFoundError):
            raise
        shutil.copyfile(source, target)  # another file system, or one without hard links
        fsync(target)


def replace_folder(new: Path, target: Path) -> None:
    """Put a finished, synced folder in its place. One that is there steps aside first: no rename replaces a full
    folder. A kill between the two leaves it aside, where `settle` finds it."""
    aside = _beside(target, "old")
    there = target.exists()
    if there:
        os.replace(target, aside)
    try:
        os.replace(new, target)
    except BaseException:
        if there:
            os.replace(aside, target)
        raise
    fsync(target.parent)
    if there:
        with contextlib.suppress(OSError):  # the new one stands; whoever settles this place next clears the old
            remove_folder(aside)


def remove_folder(folder: Path) -> None:
    """Take a folder away in one step, then remove it: nobody sees a half of it, whenever this is killed."""
    trash = _beside(folder, "tmp")
    try:
        os.replace(folder, trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Make a folder that is seen whole or not at all: yields where to write it; when the block ends well, it is synced
    and replaces `target`, else no trace of it is left."""
    building = temporary_name(target)
    building.mkdir(parents=True)
    try:
        yield building
        sync_folder(building)
        replace_folder(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def settle(folder: Path, sound: Callable[[Path], bool]) -> None:
    """Clear away the folders that a killed maker left beside its outputs in `folder`; no maker of them may live.

    What stepped aside for a successor that never came is put back where it is `sound`: it is still the good one.
    """
    for path, name, kind in unsettled(folder):
        if kind == "old" and not (folder / name).exists() and sound(path):
            os.replace(path, folder / name)
        else:
            shutil.rmtree(path)


def unsettled(folder: Path) -> list[tuple[Path, str, str]]:
    """(path, name of the output, tmp or old) of every folder that is being made in `folder`, or was when its maker
    died. Temporary files are left out: the next writer's lies beside them under a name of its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = ((entry, _UNSETTLED.fullmatch(entry.name)) for entry in entries if entry.is_dir(follow_symlinks=False))
    return [(Path(entry.path), match["name"], match["kind"]) for entry, match in matches if match]


def temporary_name(path: Path) -> Path:
    """Where to write what will be `path`. The process's number in it tells `leftovers` whether somebody still does."""
    return _beside(path, "tmp")


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
