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
_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_JP2_BOXES = 4096


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


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG or JPEG-LS codestream says of itself up to its frame header.

    sof: start-of-frame marker, 0xC0 to 0xCF or 0xF7; adobe: the colour transform of an Adobe marker (0 none, 1 YCbCr),
    None without one; subsampled: whether colour has fewer samples than brightness.
    """

    sof: int
    rows: int
    columns: int
    precision: int
    adobe: int | None
    subsampled: bool


def jpeg_header(stream: BinaryIO, fragment: Fragment) -> JpegHeader | None:
    """The header of the JPEG or JPEG-LS codestream that starts in the fragment; None when none does."""
    stream.seek(fragment.offset)
    if stream.read(min(fragment.length, 2)) != b"\xff\xd8":
        return None
    here, end, adobe = fragment.offset + 2, fragment.offset + fragment.length, None
    for _ in range(_MAX_SEGMENTS):
        stream.seek(here)
        segment = stream.read(min(24, end - here)) if here < end else b""
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4], "big")
        if marker == 0xFF:  # A fill byte.
            here += 1
        elif marker in _SOF:
            if len(segment) < 10:
                return None
            rows, columns = struct.unpack(">2H", segment[5:9])
            sampling = [segment[place] for place in (11, 14, 17) if place < len(segment)][: segment[9]]
            return JpegHeader(marker, rows, columns, segment[4], adobe, len(set(sampling)) > 1)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # Markers without a segment.
            here += 2
        else:
            if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
                adobe = segment[15]
            here += 2 + length
    return None


def codestream_size(stream: BinaryIO, fragment: Fragment) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream claims; None when the fragment starts none."""
    stream.seek(fragment.offset)
    head = stream.read(min(fragment.length, _JP2_BOXES))
    if head[:12] == _JP2:
        # Not as DICOM has it, but some writers leave the file format's boxes around the codestream.
        head = head[max(head.find(_J2K), 0) :]
    if head[:4] == _J2K and len(head) >= 24:
        width, height, left, top = struct.unpack(">4I", head[8:24])
        return height - top, width - left
    header = jpeg_header(stream, fragment)
    return None if header is None else (header.rows, header.columns)
