"""Which files a delivered folder holds, which of them must not be opened, and their keyed names. No reading."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from fusc_pipeline.errors import BadInput
from fusc_pipeline.scans.identity import KeyRing

SEPARATOR = "!/"  # between an archive's path and a member's name, where a person reads it
_BATCH_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_STEPS = 40  # as many links as Linux follows
# After a dot stands a file type, or a patient's second name: only what is known as a type is kept.
_FILE_TYPES = frozenset({
    "7z", "acq", "avi", "bak", "bin", "bmp", "bz2", "csv", "dat", "db", "dcm", "dicom", "dll", "doc", "docx", "exe",
    "gif", "gz", "hl7", "htm", "html", "ima", "img", "inf", "ini", "j2k", "jp2", "jpe", "jpeg", "jpg", "json",
    "lnk", "log", "lst", "mat", "md", "mha", "mhd", "mov", "mp4", "mpeg", "mpg", "nii", "npy", "nrrd", "pdf", "png",
    "ppt", "pptx", "rar", "raw", "rtf", "sr", "tar", "tgz", "tif", "tiff", "tmp", "tsv", "txt", "vol", "webp",
    "wmv", "xls", "xlsx", "xml", "xz", "yaml", "yml", "zip", "zst",
})  # fmt: skip


@dataclass(frozen=True)
class OwnFacts:
    """What a data set itself says of an image; all None: the data set does not know it.

    label and split go into the catalogue, as does machine; subject is identifying and is for `identity.KeyRing` only.
    """

    label: str | None = None
    split: str | None = None
    subject: str | None = None
    machine: str | None = None


@dataclass(frozen=True)
class BatchFile:
    """One delivered file, of the folder or out of an archive. The path and the relative path are private.

    relative: within the folder, as a person reads it. refused: a reason code known without reading the file, else
    None; found: more words for it. size: bytes, where the path does not tell them. identity: what its keyed name is
    made of, where that is not `relative`. temporary: unpacked, to be deleted after reading. own: see OwnFacts.
    """

    path: Path
    relative: str
    refused: str | None = None
    size: int | None = None
    identity: bytes | None = None
    found: str = ""
    temporary: bool = False
    own: OwnFacts | None = None

    @property
    def suffix(self) -> str:
        """The name's ending in lower case where it is a known file type, else nothing: it could be part of a name."""
        ending = Path(self.relative).suffix.lower()
        return ending if ending[1:] in _FILE_TYPES else ""

    @property
    def size_bytes(self) -> int:
        """Bytes of the file, of a refused link itself. Raises OSError when it is gone."""
        if self.size is not None:
            return self.size
        return (os.lstat if self.refused else os.stat)(self.path).st_size


def validate_batch_key(key: str) -> str:
    """The key itself, when it is fit to be a partition and a folder name; else BadInput."""
    if not _BATCH_KEY.fullmatch(key) or ".." in key:
        raise BadInput(
            f"batch key {key!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            "and no '..'"
        )
    return key


def list_files(folder: Path) -> list[BatchFile]:
    """Every file of a batch, sorted by relative path. Raises BadInput when the folder is missing or holds none; it is
    not named, since the words go into the run history.

    Hidden names, names beginning with "_" (markers) and DICOMDIR files are passed over. Links that leave the folder on
    their way, links to folders, pipes, sockets and devices come with `refused` set. What is added later is not seen.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput("the batch's folder does not exist or is not a folder: create it and put the scans in")
    root = folder.resolve()
    found: list[BatchFile] = []
    for parent, subfolders, names in os.walk(root, onerror=_raise_unreadable):
        linked = [name for name in subfolders if os.path.islink(os.path.join(parent, name))]
        subfolders[:] = [name for name in subfolders if not passed_over(name, is_folder=True)]
        names = [name for name in names if not passed_over(name)]
        for path in (Path(parent, name) for name in [*names, *(name for name in subfolders if name in linked)]):
            found.append(BatchFile(path, path.relative_to(root).as_posix(), _refused(path, root)))
        subfolders[:] = [name for name in subfolders if name not in linked]
    if not found:
        raise BadInput("the batch's folder holds no scans: put DICOM, PNG, JPEG or TIFF files in")
    return sorted(found, key=lambda file: os.fsencode(file.relative))


def file_key_of(file: BatchFile, keys: KeyRing) -> str:
    """The keyed identity of a file's place in the batch; what it stands for is kept privately, never in a table."""
    return keys.keyed("file", os.fsencode(file.relative) if file.identity is None else file.identity)


def passed_over(name: str, is_folder: bool = False) -> bool:
    """Whether a file or folder of this name is no delivered scan: hidden, a marker, or DICOM's directory file.

    A DICOMDIR says where files lie and whose they are; both are found out from the files themselves. A folder of that
    name may hold scans.
    """
    return name.startswith((".", "_")) or (name.upper() == "DICOMDIR" and not is_folder)


def is_passed_over(relative: str) -> bool:
    """`passed_over` for a path of folders and a file, as archives name their members."""
    *folders, last = [part for part in relative.split("/") if part not in ("", ".", "..")] or [""]
    return passed_over(last) or any(passed_over(folder, is_folder=True) for folder in folders)


def _refused(path: Path, root: Path) -> str | None:
    """The reason code for an entry that must not be opened, else None."""
    if path.is_symlink() and not _stays_inside(path, root):
        return "link"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "unreadable"
    return None if stat.S_ISREG(mode) else "not_a_file"


def _stays_inside(link: Path, root: Path) -> bool:
    """Whether every step of the link is within the folder, and it does not end at a folder or run in a circle."""
    here = link
    for _ in range(_MAX_STEPS):
        if not here.is_symlink():
            return not here.is_dir()
        try:
            target = here.parent / os.readlink(here)
            here = target.parent.resolve(strict=True) / target.name
        except (OSError, RuntimeError):  # dangling, or a circle on the way
            return False
        if not here.is_relative_to(root):
            return False
    return False


def _raise_unreadable(error: OSError) -> None:
    raise BadInput(f"a folder of the batch cannot be listed ({error.strerror}): check its permissions")
