"""Streams that an archive is read through: one that only moves forward and is watched, and xz within a memory limit."""

import io
import lzma
from collections.abc import Callable
from typing import Any, BinaryIO

_XZ_MEMORY = 256 << 20
_RAW_CHUNK = 1 << 16


class Stop(Exception):
    """Reading an archive, or one member of it, ends here. `reason` is a code of frames.REASONS; whole: all of it."""

    def __init__(self, reason: str, found: str = "", whole: bool = True) -> None:
        self.reason, self.found, self.whole = reason, found, whole
        super().__init__(reason)


class Forward(io.RawIOBase):
    """A binary stream for tarfile: forward only, in small reads, with `watch(bytes so far)` called before each.

    tarfile trusts the sizes in a header: it would take a name of gigabytes into memory, or walk in circles. last: the
    last block read, empty at the start; ended: whether the stream has come to its end.
    """

    def __init__(self, stream: BinaryIO, watch: Callable[[int], None], most: int) -> None:
        self._stream, self._watch, self._most, self._at = stream, watch, most, 0
        self.last, self.ended = b"", False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._most:
            raise Stop("damaged", "the archive claims a header of absurd size")
        parts, left = [], size
        while left:
            data = self._stream.read(left)
            if not data:
                self.ended = True
                break
            parts.append(data)
            left -= len(data)
        found = b"".join(parts)
        self._at += len(found)
        self.last = found or self.last
        self._watch(self._at)
        return found

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise Stop("damaged", "the archive points back into itself")
        while self._at < offset and self.read(min(offset - self._at, self._most)):
            pass
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


class Xz(io.RawIOBase):
    """An .xz file (also several streams on end) unpacked within a memory limit, which `lzma.LZMAFile` has none of."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._unpacker, self._rest = raw, self._new(), b""

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._unpacker.eof:
                self._rest = self._unpacker.unused_data.lstrip(b"\0") or self._raw.read(_RAW_CHUNK).lstrip(b"\0")
                if not self._rest:
                    return 0
                self._unpacker = self._new()
            elif self._unpacker.needs_input and not self._rest:
                self._rest = self._raw.read(_RAW_CHUNK)
                if not self._rest:
                    raise EOFError("the xz stream ends early")
            try:
                data = self._unpacker.decompress(self._rest, max_length=len(buffer))
            except lzma.LZMAError:
                raise Stop("damaged", "the xz stream is damaged or asks for too much memory") from None
            self._rest = b""
            if data:
                buffer[: len(data)] = data
                return len(data)
