"""What a delivered folder holds, told without decoding a picture: its listing, which is cheap, and its content.

The listing changes whenever somebody touches a file; the content only when what a run would read has changed.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fusc_pipeline.base.hashing import digest, sha256_file
from fusc_pipeline.scans.files import list_files

FileFacts = list[int | str]
"""[bytes, modified, changed (both in nanoseconds), inode, SHA-256]: while the first four hold, so does the last."""


@dataclass(frozen=True)
class Content:
    """hash: of every file's path in the folder, size and bytes; facts: path (hex of its bytes) -> FileFacts."""

    hash: str
    facts: Mapping[str, FileFacts]


def folder_listing(folder: Path) -> str:
    """A hash of the names, sizes and times of all that is in the folder: what tells a grown or replaced delivery.

    A file that goes away while the folder is listed is left out: the next listing differs from this one.
    """
    return digest(sorted(entries_of(folder).items()))


def entries_of(folder: Path) -> dict[str, tuple[int, int, int, int]]:
    """path in the folder (hex of its bytes: a name may be no valid text) -> (mode, bytes, modified, changed).

    Both times in nanoseconds; the second also tells a file that was replaced and given its old time back.
    """
    found = {}
    top = os.path.join(os.fspath(folder), "")
    for parent, folders, names in os.walk(top):
        for name in (*folders, *names):
            with contextlib.suppress(FileNotFoundError):
                path = os.path.join(parent, name)
                facts = os.lstat(path)
                found[os.fsencode(path[len(top) :]).hex()] = (
                    facts.st_mode,
                    facts.st_size,
                    facts.st_mtime_ns,
                    facts.st_ctime_ns,
                )
    return found


def read_content(folder: Path, known: Mapping[str, FileFacts]) -> Content:
    """Hash what a run would read of the folder; files whose facts are as in `known` are not read again.

    Raises BadInput when the folder is missing, holds no file or cannot be listed, and FileNotFoundError when a file
    goes away meanwhile.
    """
    rows: list[tuple] = []
    facts: dict[str, FileFacts] = {}
    for file in list_files(folder):
        name = os.fsencode(file.relative).hex()
        if file.refused:
            rows.append((name, file.refused))
            continue
        try:
            before = _stamp(file.path)
            held = known.get(name)
            sha = held[-1] if held and held[:-1] == before else sha256_file(file.path)
            if _stamp(file.path) == before:  # else it is being written, and is hashed again the next time
                facts[name] = [*before, sha]
            rows.append((name, before[0], sha))
        except FileNotFoundError:
            raise
        except OSError:
            rows.append((name, "unreadable"))
    return Content(digest(rows), facts)


def _stamp(path: Path) -> list[int]:
    facts = os.stat(path)
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
