"""DICOM's encapsulated pixel data: fragments, and which of them make a frame. DICOM PS3.5 section A.4. No decoding.

The offset table is never asked: it is optional, and wrong in many files. What begins a codestream begins a frame.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fusc_pipeline.scans.codestream import begins_codestream, next_codestream
from fusc_pipeline.scans.frames import RejectedScan

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_RLE_HEADER = 64


@dataclass(frozen=True)
class Fragment:
    """Where one fragment's bytes lie in the file."""

    offset: int
    length: int


Pieces = tuple[Fragment, ...]
"""The fragments, or parts of one, that hold one frame's codestream, in order."""


def read_fragments(stream: BinaryIO) -> tuple[list[Fragment], bool]:
    """(the fragments from the stream's place on, without the offset table and empty ones; whether they end properly).

    A sequence that ends with the file, or with anything that is no item, has ended: its fragments are whole all the
    same, unless more items follow. Raises RejectedScan `truncated` when the file ends within a fragment, and `damaged`
    when a fragment's length does not lead to the next one.
    """
    here = stream.tell()
    end = stream.seek(0, 2)
    fragments: list[Fragment] = []
    proper = False
    while True:
        stream.seek(here)
        head = stream.read(8)
        if len(head) < 8 or head[:4] != _ITEM:
            proper = head == _SEQUENCE_END + bytes(4)
            if head[:4] != _SEQUENCE_END and _goes_on(head + stream.read()):
                raise RejectedScan("damaged", f"the length of fragment {len(fragments) - 1} is wrong")
            break
        length = int.from_bytes(head[4:], "little")
        if here + 8 + length > end:
            raise RejectedScan("truncated", f"fragment {len(fragments)} is cut short")
        fragments.append(Fragment(here + 8, length))
        here += 8 + length
    return [fragment for fragment in fragments[1:] if fragment.length], proper


def _goes_on(rest: bytes) -> bool:
    """Whether fragments follow in bytes that begin with no item: then the last length has led astray."""
    near = (rest[at : at + _RLE_HEADER] for at in range(min(len(rest), 16)))
    return _ITEM in rest or any(begins_codestream(head) or run_length_segments(head) for head in near)


def codestreams(stream: BinaryIO, fragments: list[Fragment]) -> list[Pieces]:
    """One entry for each frame: a fragment that begins a codestream, with those after it that begin none.

    Two codestreams in one fragment are two frames. Raises RejectedScan `damaged` when the first fragment begins none.
    """
    groups: list[list[Fragment]] = []
    for fragment in fragments:
        stream.seek(fragment.offset)
        if begins_codestream(stream.read(min(12, fragment.length))):
            groups.append([fragment])
        elif groups:
            groups[-1].append(fragment)
        else:
            raise RejectedScan("damaged", "the pixel data holds no JPEG codestream")
    return [pieces for group in groups for pieces in _split(stream, group)]


def run_lengths(stream: BinaryIO, fragments: list[Fragment]) -> list[Pieces]:
    """One entry for each frame of RLE, where a fragment is a frame (PS3.5 annex G). Raises RejectedScan `damaged`."""
    for number, fragment in enumerate(fragments):
        if run_length_segments(read_pieces(stream, (Fragment(fragment.offset, min(fragment.length, 64)),))) is None:
            raise RejectedScan("damaged", f"fragment {number} is no run-length code")
    return [(fragment,) for fragment in fragments]


def run_length_segments(data: bytes) -> int | None:
    """How many segments the header of an RLE frame names: samples times bytes a sample; None when it is none."""
    if len(data) < _RLE_HEADER:
        return None
    numbers = [int.from_bytes(data[at : at + 4], "little") for at in range(0, _RLE_HEADER, 4)]
    count, offsets = numbers[0], numbers[1:]
    in_order = offsets[:count] == sorted(set(offsets[:count])) and not any(offsets[count:])
    return count if 1 <= count <= 15 and offsets[0] == _RLE_HEADER and in_order else None


def exact_run_lengths(data: bytes, area: int, spare: int) -> bytes | None:
    """An RLE frame whose segments unpack to `area` bytes each (PS3.5 annex G.3.1): what follows in them is cut off.

    None where one unpacks to less, or to `spare` bytes more: then it is no picture of this size.
    """
    count = run_length_segments(data) or 0
    starts = [int.from_bytes(data[at : at + 4], "little") for at in range(4, 4 + 4 * count, 4)]
    segments = []
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        here, length, whole = start, 0, None
        while here + 1 < end:
            code = data[here]
            if code == 128:
                here += 1
                continue
            length += min(code + 1, end - here - 1) if code < 128 else 257 - code
            here += code + 2 if code < 128 else 2
            if whole is None and length >= area:
                whole = here
        if whole is None or length >= area + spare:
            return None
        segments.append(data[start:whole])
    places = [_RLE_HEADER + sum(map(len, segments[:number])) for number in range(count)]
    return struct.pack("<16I", count, *places, *[0] * (15 - count)) + b"".join(segments)


def read_pieces(stream: BinaryIO, pieces: Pieces) -> bytes:
    """The bytes of one frame's codestream."""
    parts = []
    for piece in pieces:
        stream.seek(piece.offset)
        parts.append(stream.read(piece.length))
    return b"".join(parts)


def _split(stream: BinaryIO, group: list[Fragment]) -> Iterator[Pieces]:
    """The group's codestreams, each with what lies between its beginning and the next one's."""
    rest = tuple(group)
    while True:
        start = next_codestream(read_pieces(stream, rest))
        if start is None:
            yield rest
            return
        first, rest = _cut(rest, start)
        yield first


def _cut(pieces: Pieces, at: int) -> tuple[Pieces, Pieces]:
    before, after = [], []
    for piece in pieces:
        here = max(0, min(at, piece.length))
        if here:
            before.append(Fragment(piece.offset, here))
        if here < piece.length:
            after.append(Fragment(piece.offset + here, piece.length - here))
        at -= piece.length
    return tuple(before), tuple(after)
