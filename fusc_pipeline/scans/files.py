"""Which files a delivered folder holds, which of them must not be opened, and their keyed names. No reading."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from fusc_pipeline.errors import BadInput
from fusc_pipeline.scans.identity import KeyRing

_BATCH_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SAFE_SUFFIX = re.compile(r"\.[a-z0-9]{1,7}")


@dataclass(frozen=True)
class BatchFile:
    """One entry of the folder. refused: a reason code found without opening it, else None. The path is private."""

    path: Path
    relative: str
    refused: str | None = None

    @property
    def suffix(self) -> str:
        """The name's ending without what could be a name: lower case, letters and digits only, at most 8 characters."""
        ending = Path(self.relative).suffix.lower()
        return ending if _SAFE_SUFFIX.fullmatch(ending) else ""


def validate_batch_key(key: str) -> str:
    """The key itself, when it is fit to be a partition and a folder name; else BadInput."""
    if not _BATCH_KEY.fullmatch(key) or ".." in key:
        raise BadInput(
            f"batch key {key!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            "and no '..'"
        )
    return key


def list_files(folder: Path) -> list[BatchFile]:
    """Every file of a batch, sorted by relative path. Raises BadInput when the folder is missing or holds none.

    Hidden names, names beginning with "_" (markers) and DICOMDIR are passed over, folders of such names too. Links
    that leave the folder, links to folders, pipes, sockets and devices come with `refused` set.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"batch folder {folder} does not exist or is not a folder: create it and put the scans in")
    root = folder.resolve()
    found: list[BatchFile] = []
    for parent, subfolders, names in os.walk(root, onerror=_raise_unreadable):
        linked = [name for name in subfolders if os.path.islink(os.path.join(parent, name))]
        subfolders[:] = sorted(name for name in subfolders if not _passed_over(name) and name not in linked)
        for name in [*names, *linked]:
            if not _passed_over(name):
                path = Path(parent, name)
                found.append(BatchFile(path, path.relative_to(root).as_posix(), _refused(path, root)))
    if not found:
        raise BadInput(f"batch folder {folder} holds no scans: put DICOM, PNG, JPEG or TIFF files in")
    return sorted(found, key=lambda file: os.fsencode(file.relative))


def file_keys(folder: Path, keys: KeyRing) -> dict[str, str]:
    """file_key -> relative path: the private mapping by which a row is traced back. Store it 0600, never in a table."""
    return {file_key_of(file, keys): file.relative for file in list_files(folder)}


def file_key_of(file: BatchFile, keys: KeyRing) -> str:
    """The keyed identity of a file's place in the batch."""
    return keys.keyed("file", os.fsencode(file.relative))


def _passed_over(name: str) -> bool:
    return name.startswith((".", "_")) or name.upper() == "DICOMDIR"


def _refused(path: Path, root: Path) -> str | None:
    """The reason code for an entry that must not be opened, else None."""
    if path.is_symlink():
        target = path.resolve()
        if not target.is_relative_to(root) or target.is_dir():
            return "link"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "unreadable"
    return None if stat.S_ISREG(mode) else "not_a_file"


def _raise_unreadable(error: OSError) -> None:
    raise BadInput(f"a folder of the batch cannot be listed ({error.strerror}): check its permissions")
