"""The entries of a zip or tar, one by one, read within limits: their names, sizes and bytes. Nothing is written here.

What becomes of a member is `archives`' part. Entries are only ever read in the formats' plain forms: those that can
stand for more than they hold (sparse files, unbounded packings) are refused by name.
"""

import bz2
import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.scans.forward import Forward, Stop, Xz

_BLOCK = 512
_CHUNK = 1 << 16
_LONGEST_HEADER = 1 << 18
# Zip files that are documents, by a member they must have: their pictures are no delivered scans.
_OFFICE, _OPEN_DOCUMENT = "[Content_Types].xml", "mimetype"  # the latter is the first member
_PLAIN_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# A directory of this size lists some 150,000 members; zipfile takes it into memory whole, a dozen times as large.
_MAX_DIRECTORY = 16 << 20


_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    RecursionError,
    NotImplementedError,
    MemoryError,
    AttributeError,
    TypeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)


# How each kind of tar is unpacked; all of them by pieces of a bounded size.
_UNPACKERS: dict[str, Callable[[BinaryIO], AbstractContextManager[Any]]] = {
    "tar": nullcontext,
    "tar.gz": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    "tar.bz2": lambda raw: bz2.BZ2File(raw, "rb"),
    "tar.xz": lambda raw: io.BufferedReader(Xz(raw)),
}


@dataclass(frozen=True)
class ArchiveLimits:
    """What opening one archive may cost.

    max_members: entries. max_total_bytes: all members unpacked. max_member_bytes: one member unpacked; a larger one is
    refused alone. max_ratio: unpacked over packed bytes, looked at beyond `free_bytes` (black frames pack well).
    """

    max_members: int = 200_000
    max_total_bytes: int = 256 << 30
    max_member_bytes: int = 256 << 20
    max_ratio: int = 200
    free_bytes: int = 32 << 20

    def __post_init__(self) -> None:
        for name in ("max_members", "max_total_bytes", "max_member_bytes", "max_ratio", "free_bytes"):
            if getattr(self, name) < 1:
                raise BadSetting(f"{name} is {getattr(self, name)}: set it to 1 or more")

    def is_bomb(self, unpacked: int, packed: int) -> bool:
        """Whether so many bytes from so few are no pictures."""
        return unpacked > self.free_bytes and unpacked > self.max_ratio * max(packed, 1)


@dataclass(frozen=True)
class Member:
    """An entry of an archive; `chunks` gives its bytes, unless it is refused unread."""

    name: str
    size: int
    refused: str | None = None
    chunks: Callable[[], Iterator[bytes]] | None = None


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are the header of a tar entry: its checksum says so."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def read_members(path: Path, kind: str, limits: ArchiveLimits) -> Iterator[Member]:
    """The entries but for folders, in the archive's order. Raises Stop where it cannot, or must not, be read further.

    A member's `chunks` must be taken before the next member is asked for; they raise Stop for this member or for all.
    """
    if kind == "packed":
        raise Stop("packed_file", "a packing that is not opened here")
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            yield from _zip_members(raw, limits) if kind == "zip" else _tar_members(stack, raw, kind, limits)
    except _READ_ERRORS as error:
        raise _broken(error) from None


def _broken(error: Exception) -> Stop:
    """Without the error's message, which quotes member names."""
    cut = isinstance(error, EOFError) or "unexpected end" in str(error)
    return Stop("truncated" if cut else "damaged", f"the archive cannot be read further ({type(error).__name__})")


def zip_names(path: Path) -> list[str]:
    """The names of a zip's members; none for what is no zip, or one that cannot be read."""
    try:
        with open(path, "rb") as raw:
            _check_directory(raw)
            with zipfile.ZipFile(raw) as archive:
                return archive.namelist()
    except (Stop, *_READ_ERRORS):
        return []


def zip_member(path: Path, name: str, most: int) -> bytes:
    """A member's bytes, at most `most` of them. Raises Stop where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            return stream.read(most)
    except _READ_ERRORS as error:
        raise _broken(error) from None


def _zip_members(raw: BinaryIO, limits: ArchiveLimits) -> Iterator[Member]:
    _check_directory(raw)
    with zipfile.ZipFile(raw) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if _OFFICE in names or names[:1] == [_OPEN_DOCUMENT]:
            raise Stop("not_an_image", "a document packed as zip")
        total = sum(entry.file_size for entry in entries)
        if len(entries) > limits.max_members or total > limits.max_total_bytes:
            raise Stop("archive_limit", f"{len(entries)} members of {total} bytes in all")
        if limits.is_bomb(total, sum(entry.compress_size for entry in entries)):
            raise Stop("archive_limit", f"{total} bytes packed over {limits.max_ratio} times")
        for entry in entries:
            if not entry.is_dir():
                yield Member(
                    entry.filename, entry.file_size, _zip_refused(entry, limits), partial(_zip_chunks, archive, entry)
                )


def _check_directory(raw: BinaryIO) -> None:
    """Refuse a central directory that would take too much memory (PKWARE APPNOTE 4.3.14 and 4.3.16)."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, size - (22 + 0xFFFF)))
    tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise Stop("truncated", "a zip without its directory")
    (directory,) = struct.unpack_from("<I", tail, at + 12)
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        raw.seek(min(struct.unpack_from("<Q", tail, at - 12)[0], size))
        record = raw.read(56)
        if len(record) == 56 and record.startswith(b"PK\x06\x06"):
            directory = max(struct.unpack_from("<Q", record, 40)[0], directory if directory != 0xFFFFFFFF else 0)
    if directory > _MAX_DIRECTORY:
        raise Stop("archive_limit", f"a directory of {directory} bytes")
    raw.seek(0)


def _zip_refused(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> str | None:
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "link" if stat.S_ISLNK(mode) else "not_a_file"
    if entry.flag_bits & 0x41:
        return "encrypted"
    if entry.compress_type not in _PLAIN_METHODS:
        return "packed_file"
    if entry.file_size > limits.max_member_bytes:
        return "too_large"
    return "archive_limit" if limits.is_bomb(entry.file_size, entry.compress_size) else None


def _zip_chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Errors concern this member only: the others have their own places in the file."""
    try:
        with archive.open(entry) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except _READ_ERRORS as error:
        raise Stop("damaged", f"cannot be unpacked ({type(error).__name__})", whole=False) from None


def _tar_members(stack: ExitStack, raw: BinaryIO, kind: str, limits: ArchiveLimits) -> Iterator[Member]:
    opened = _UNPACKERS[kind]
    stream = stack.enter_context(opened(raw))
    head = stream.read(_BLOCK)
    if not is_tar_header(head) and any(head):
        raise Stop("packed_file", "one compressed file")
    raw.seek(0)
    stream = stack.enter_context(opened(raw))

    def watch(unpacked: int) -> None:
        if unpacked > limits.max_total_bytes or limits.is_bomb(unpacked, raw.tell()):
            raise Stop("archive_limit", "more bytes unpacked than allowed")

    forward = Forward(stream, watch, _LONGEST_HEADER)
    with tarfile.open(fileobj=forward, mode="r:") as archive:
        while (entry := archive.next()) is not None:
            cast(Any, archive).members = []  # tarfile keeps every entry it has seen
            if not entry.isdir():
                yield Member(entry.name, entry.size, _tar_refused(entry, limits), partial(_tar_chunks, archive, entry))
    if any(forward.last):
        # tarfile takes anything that is no header for the end.
        raise Stop("truncated" if forward.ended else "damaged", "the archive breaks off; what came before it was read")


def _tar_refused(entry: tarfile.TarInfo, limits: ArchiveLimits) -> str | None:
    if entry.issym() or entry.islnk():
        return "link"
    if not entry.isreg():
        return "not_a_file"
    if entry.issparse():
        return "packed_file"  # a few bytes can stand for terabytes
    return "too_large" if entry.size > limits.max_member_bytes else None


def _tar_chunks(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    """Errors concern the whole archive: nothing after them can be found."""
    try:
        stream = archive.extractfile(entry)
        if stream is None:  # no file; `_tar_refused` has refused it
            return
        with stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except _READ_ERRORS as error:
        raise _broken(error) from None
