"""The outside of DICOM's encapsulated pixel data: its fragments, and the size a JPEG codestream claims. No decoding.

DICOM PS3.5 section A.4 (fragments); ITU-T T.81 B.2 (JPEG markers), T.87 C (JPEG-LS), T.800 A.5 (JPEG 2000 SIZ).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from fusc_pipeline.scans.frames import RejectedScan

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
# Start-of-frame markers C0-CF without the tables DHT (C4), JPG (C8) and DAC (CC); F7 is JPEG-LS.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_MAX_SEGMENTS = 4096


@dataclass(frozen=True)
class Fragment:
    """Where one fragment's bytes lie in the file."""

    offset: int
    length: int


def read_fragments(stream: BinaryIO) -> list[Fragment]:
    """The fragments that follow a pixel data element's header, without the basic offset table.

    Raises RejectedScan `truncated` when the file ends within one, `damaged` on anything but items.
    """
    here = stream.tell()
    end = stream.seek(0, 2)
    fragments: list[Fragment] = []
    while True:
        stream.seek(here)
        head = stream.read(8)
        if len(head) < 8:
            raise RejectedScan("truncated", "the pixel data has no end")
        if head[:4] == _SEQUENCE_END:
            return fragments[1:]
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM:
            raise RejectedScan("damaged", "the pixel data is not made of items")
        if here + 8 + length > end:
            raise RejectedScan("truncated", f"fragment {len(fragments)} is cut short")
        fragments.append(Fragment(here + 8, length))
        here += 8 + length


def codestream_size(stream: BinaryIO, fragment: Fragment) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream claims; None when the fragment starts none."""
    stream.seek(fragment.offset)
    head = stream.read(min(fragment.length, 24))
    if head[:4] == b"\xff\x4f\xff\x51" and len(head) == 24:
        width, height, left, top = struct.unpack(">4I", head[8:24])
        return height - top, width - left
    if head[:2] != b"\xff\xd8":
        return None
    here = fragment.offset + 2
    for _ in range(_MAX_SEGMENTS):
        stream.seek(here)
        segment = stream.read(9)
        if here + len(segment) > fragment.offset + fragment.length or len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4], "big")
        if marker == 0xFF:  # A fill byte.
            here += 1
        elif marker in _SOF:
            height, width = struct.unpack(">2H", segment[5:9])
            return height, width
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # Markers without a segment.
            here += 2
        else:
            here += 2 + length
    return None
