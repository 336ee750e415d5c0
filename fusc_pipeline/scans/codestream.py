"""What a JPEG, JPEG-LS or JPEG 2000 codestream says of itself: size, depth, colours, and where it ends. No decoding.

ITU-T T.81 B.2 (JPEG markers), T.87 C (JPEG-LS), T.800 A.5 and A.6 (JPEG 2000 SIZ and COD).
"""

import re
import struct
from dataclasses import dataclass

# Start-of-frame markers C0-CF without the tables DHT (C4), JPG (C8) and DAC (CC); F7 is JPEG-LS.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
JPEG_LS, LOSSLESS_JPEG = 0xF7, 0xC3
_MAX_SEGMENTS = 4096
_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_JP2_BOXES = 4096
_COD, _SOT, _SOD = 0x52, 0x90, 0x93
# In entropy-coded data: a marker that is neither a stuffed byte, a restart nor filling. JPEG-LS stuffs a bit, so that
# what follows FF there stays below 80.
_JPEG_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_JPEG_LS_MARKER = re.compile(rb"\xff+[\x80-\xfe]")


@dataclass(frozen=True)
class Codestream:
    """rows, columns: of the picture; samples: colour components; bits: of a sample; signed: whether samples may be
    negative. kind: "jpeg", "jpeg-ls" or "jpeg 2000"; lossless: whether a JPEG is (its colours are never converted).

    colours: "RGB" or "YBR" where the stream itself says what its components are, else None. transformed: JPEG 2000's
    own component transform, which its decoder undoes. subsampled: whether colour has fewer samples than brightness.
    """

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    lossless: bool = False
    colours: str | None = None
    transformed: bool = False
    subsampled: bool = False


def begins_codestream(head: bytes) -> bool:
    """Whether bytes can be the first of a JPEG, JPEG-LS or JPEG 2000 codestream, in the boxes of a JP2 file too."""
    return (head[:2] == _SOI and head[2:3] == b"\xff") or head[:4] == _J2K or head[:12] == _JP2


def read_codestream(data: bytes) -> Codestream | None:
    """What the codestream at the start of `data` says up to its picture; None where there is none."""
    if data[:2] == _SOI:
        return _jpeg(data)
    # Not as DICOM has it, but some writers leave the file format's boxes around the codestream.
    start = data.find(_J2K, 0, _JP2_BOXES) if data[:12] == _JP2 else 0
    return _jpeg_2000(data, start) if start >= 0 and data[start : start + 4] == _J2K else None


def end_of_jpeg(data: bytes) -> int | None:
    """Bytes up to and with the end marker of the JPEG or JPEG-LS codestream at the start; None without one."""
    here, pattern = 2, _JPEG_MARKER
    for _ in range(_MAX_SEGMENTS):
        if here + 2 > len(data) or data[here] != 0xFF:
            return None
        marker = data[here + 1]
        if marker == 0xFF:  # A fill byte.
            here += 1
            continue
        if marker == 0xD9:
            return here + 2
        if marker == JPEG_LS:
            pattern = _JPEG_LS_MARKER
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # Markers without a segment.
            here += 2
            continue
        here += 2 + int.from_bytes(data[here + 2 : here + 4], "big")
        if marker == _SOS:
            found = pattern.search(data, here)
            if found is None:
                return None
            here = found.end() - 2
    return None


def next_codestream(data: bytes) -> int | None:
    """Where a second codestream begins in `data`, which begins with one: two frames in one fragment. None: nowhere."""
    if data[:2] == _SOI:
        # Most often there is none: that is found out before the stream is walked through.
        if data.find(b"\xff\xd8\xff", 2) < 0:
            return None
        end = end_of_jpeg(data)
        start = None if end is None else data.find(b"\xff\xd8\xff", end, end + _JP2_BOXES)
        return None if start is None or start < 0 else start
    start = data.find(_J2K, len(_J2K)) if data[:4] == _J2K else -1
    # What lies between the two must be the first one's end, perhaps with filling after it.
    return start if start > 0 and _EOI in data[max(0, start - 64) : start] else None


def _jpeg(data: bytes) -> Codestream | None:
    here, adobe, jfif = 2, None, False
    for _ in range(_MAX_SEGMENTS):
        segment = data[here : here + 24]
        if len(segment) < 4 or segment[0] != 0xFF:
            return None
        marker, length = segment[1], int.from_bytes(segment[2:4], "big")
        if marker == 0xFF:
            here += 1
        elif marker in _SOF:
            return _frame_header(marker, segment, adobe, jfif)
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            here += 2
        else:
            jfif = jfif or (marker == 0xE0 and segment[4:9] == b"JFIF\0")
            if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
                adobe = segment[15]
            here += 2 + length
    return None


def _frame_header(marker: int, segment: bytes, adobe: int | None, jfif: bool) -> Codestream | None:
    if len(segment) < 10:
        return None
    rows, columns = struct.unpack(">2H", segment[5:9])
    samples = segment[9]
    places = [place for place in (10, 13, 16) if place + 1 < len(segment)][:samples]
    identifiers, sampling = bytes(segment[place] for place in places), {segment[place + 1] for place in places}
    colours = None
    if samples == 3:
        # As libjpeg has it: a JFIF marker goes first, then Adobe's, then the components' names.
        if jfif or len(sampling) > 1:
            colours = "YBR"
        if not jfif and adobe is not None:
            colours = "RGB" if adobe == 0 else "YBR"
        elif colours is None and identifiers == b"RGB":
            colours = "RGB"
    return Codestream(
        "jpeg-ls" if marker == JPEG_LS else "jpeg",
        rows,
        columns,
        samples,
        segment[4],
        lossless=marker == LOSSLESS_JPEG,
        colours=colours,
        subsampled=len(sampling) > 1,
    )


def _jpeg_2000(data: bytes, start: int) -> Codestream | None:
    head = data[start : start + 43]
    if len(head) < 43:
        return None
    width, height, left, top = struct.unpack(">4I", head[8:24])
    samples, depth = int.from_bytes(head[40:42], "big"), head[42]
    transformed = _component_transform(data, start + 2)
    return Codestream(
        "jpeg 2000",
        height - top,
        width - left,
        samples,
        (depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        colours="RGB" if transformed else None,
        transformed=transformed,
    )


def _component_transform(data: bytes, here: int) -> bool:
    """The multiple component transformation of the COD marker: RCT or ICT, undone by the decoder."""
    for _ in range(_MAX_SEGMENTS):
        marker = data[here : here + 2]
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (_SOT, _SOD):
            return False
        if marker[1] == _COD:
            return data[here + 8 : here + 9] == b"\1"
        here += 2 + int.from_bytes(data[here + 2 : here + 4], "big")
    return False
