"""Deliveries packed as zip or tar (also .gz, .bz2, .xz): recognised by content, opened one member at a time.

A member is written under a number into a private folder, never under its own name, so no name can lead out of it; who
reads it deletes it, so that an archive costs the disk a few members. What is in the members is `reading`'s part.
Bombs are stopped by what they claim, and by what they were found to hold: see `ArchiveLimits`.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fusc_pipeline.scans.files import SEPARATOR, BatchFile, passed_over
from fusc_pipeline.scans.forward import Stop
from fusc_pipeline.scans.header import begins_dicom
from fusc_pipeline.scans.members import ArchiveLimits, Member, is_tar_header, read_members

_BLOCK = 512
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"


def archive_kind(path: Path) -> str | None:
    """zip, tar, tar.gz, tar.bz2, tar.xz, packed (one compressed file, or zstd) or None. Raises OSError only."""
    with open(path, "rb") as stream:
        return _kind(stream.read(_BLOCK))


def _kind(head: bytes) -> str | None:
    """By a file's first 512 bytes. A DICOM preamble may hold anything: "DICM" wins."""
    if begins_dicom(head):
        return None
    if head.startswith(_ZIP):
        return "zip"
    if head.startswith(_ZSTD):
        return "packed"
    for name, magic in (("tar.gz", _GZIP), ("tar.bz2", _BZIP2), ("tar.xz", _XZ)):
        if head.startswith(magic):
            return name
    return "tar" if is_tar_header(head) else None


def unpack(archive: BatchFile, kind: str, scratch: Path, limits: ArchiveLimits | None = None) -> Iterator[BatchFile]:
    """The members as delivered files, in the archive's own order; each is the caller's to delete when it is done with.

    A member that is no regular file, is encrypted, is itself an archive, is over a limit or has a name that leads out
    of the archive comes with `refused` set and no file; one that is no scan in a folder either comes `passed_over`. An
    archive that cannot be read (further) ends with itself, refused with the reason; so does one without members.
    """
    limits = limits or ArchiveLimits()
    repeats: Counter[str] = Counter()
    given = 0
    try:
        for number, member in enumerate(read_members(archive.path, kind, limits)):
            if number >= limits.max_members:
                raise Stop("archive_limit", f"more than {limits.max_members} members")
            name = member.name.replace("\\", "/")
            repeats[name] += 1
            file = _as_file(archive, member, name, repeats[name])
            why = passed_over(name, b"")
            if why and not file.refused:
                yield replace(file, passed_over=why)
                continue
            if file.refused is not None:
                given += 1
                yield file
                continue
            file, stop = _write(file, member, scratch / f"{number:07d}", limits)
            given += not file.passed_over
            yield file
            if stop is not None and stop.whole:
                raise stop
    except Stop as stop:
        yield replace(archive, refused=stop.reason, found=stop.found)
        return
    if not given:
        yield replace(archive, refused="empty", found="an archive without files")


def _as_file(archive: BatchFile, member: Member, name: str, repeat: int) -> BatchFile:
    shown = name if repeat == 1 else f"{name} ({repeat})"
    # A zero byte is in no path, so a member's keyed name is never that of a file of the folder.
    identity = b"\0".join(os.fsencode(part) for part in (archive.relative, name, str(repeat)))
    refused = "unsafe_name" if _leads_out(name) else member.refused
    return BatchFile(archive.path, f"{archive.relative}{SEPARATOR}{shown}", refused, member.size, identity)


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name) is not None


def _write(file: BatchFile, member: Member, target: Path, limits: ArchiveLimits) -> tuple[BatchFile, Stop | None]:
    """The file with its bytes in `target`; or refused (cut short, an archive, over a limit), with what stopped it."""
    written, why = 0, ""
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
            for chunk in member.chunks() if member.chunks else ():
                if not written and (why := passed_over(member.name.replace("\\", "/"), chunk)):
                    break
                if not written and _kind(chunk[:_BLOCK]):
                    raise Stop("nested_archive", whole=False)
                written += len(chunk)
                if written > limits.max_member_bytes:
                    raise Stop("too_large", f"more than {limits.max_member_bytes} bytes", whole=False)
                out.write(chunk)
    except Stop as stop:
        target.unlink()
        return replace(file, refused=stop.reason, found=stop.found), stop
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if why:
        target.unlink()
        return replace(file, passed_over=why), None
    return replace(file, path=target, size=written, temporary=True), None
