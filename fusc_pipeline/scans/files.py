"""Which files a delivered folder holds, which of them must not be opened, and their keyed names. No reading."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.scans.identity import KeyRing

SEPARATOR = "!/"  # between an archive's path and a member's name, where a person reads it
_BATCH_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Files that are no scans: markers of this program's, and what operating systems leave in every folder.
_LEFT_BEHIND = {
    "_ready": "marker of a finished delivery",
    "_phantom.json": "settings of a synthetic batch",
    ".ds_store": "left behind by macOS",
    "thumbs.db": "left behind by Windows",
    "desktop.ini": "left behind by Windows",
}
_APPLE, _APPLE_DOUBLE = "a file's attributes, left behind by macOS", b"\x00\x05\x16\x07"
_MEDIA_DIRECTORY, _HEAD = b"1.2.840.10008.1.3.10", 1024
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
    passed_over: why it is no scan to be read, in words.
    """

    path: Path
    relative: str
    refused: str | None = None
    size: int | None = None
    identity: bytes | None = None
    found: str = ""
    temporary: bool = False
    own: OwnFacts | None = None
    passed_over: str = ""

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

    What `passed_over` names is left out. Links that leave the folder on their way, links to folders, pipes, sockets and
    devices come with `refused` set. What is added later is not seen.
    """
    return [file for file in list_delivered(folder) if not file.passed_over]


def list_delivered(folder: Path) -> list[BatchFile]:
    """As `list_files`, with the files that are passed over, marked so."""
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput("the batch's folder does not exist or is not a folder: create it and put the scans in")
    root = folder.resolve()
    found: list[BatchFile] = []
    for parent, subfolders, names in os.walk(root, onerror=_raise_unreadable):
        linked = [name for name in subfolders if os.path.islink(os.path.join(parent, name))]
        for path in (Path(parent, name) for name in [*names, *linked]):
            relative, refused = path.relative_to(root).as_posix(), _refused(path, root)
            why = "" if refused else passed_over(relative, path)
            found.append(BatchFile(path, relative, refused, passed_over=why))
        subfolders[:] = [name for name in subfolders if name not in linked]
    if all(file.passed_over for file in found):
        raise BadInput("the batch's folder holds no scans: put DICOM, PNG, JPEG or TIFF files in")
    return sorted(found, key=lambda file: os.fsencode(file.relative))


def file_key_of(file: BatchFile, keys: KeyRing) -> str:
    """The keyed identity of a file's place in the batch; what it stands for is kept privately, never in a table."""
    return keys.keyed("file", os.fsencode(file.relative) if file.identity is None else file.identity)


def passed_over(relative: str, content: Path | bytes) -> str:
    """Why a file is no delivered scan, in words; "" for one that is read, whatever its name.

    relative: its path in the batch or archive; content: the file, or its first bytes. Only a few names that programs
    leave behind are known; a DICOMDIR says where files lie and whose they are, which the files themselves tell.
    """
    *folders, name = [part.casefold() for part in relative.split("/") if part not in ("", ".", "..")] or [""]
    if name in _LEFT_BEHIND:
        return _LEFT_BEHIND[name]
    if "__macosx" in folders and name.startswith("._"):
        return _APPLE
    if name.startswith("._") and _head(content).startswith(_APPLE_DOUBLE):
        return _APPLE
    if name == "dicomdir" and _MEDIA_DIRECTORY in _head(content):
        return "DICOM's directory of a medium"
    return ""


def printable(name: str) -> str:
    """A file's name for a terminal or a page: control characters and bytes that are no text are written escaped."""
    return "".join(
        char
        if char.isprintable()
        else f"\\x{ord(char) - 0xDC00:02x}"  # a byte that is no UTF-8, as Python keeps it
        if 0xDC80 <= ord(char) <= 0xDCFF
        else char.encode("unicode_escape", "backslashreplace").decode()
        for char in name
    )


def _head(content: Path | bytes) -> bytes:
    if isinstance(content, bytes):
        return content[:_HEAD]
    try:
        with open(content, "rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""  # whoever reads the file meets the same error and says so


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
