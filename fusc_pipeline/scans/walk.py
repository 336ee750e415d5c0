"""A DICOM data set whose sequences are written wrong: walked over, element by element, past what nobody needs.

Only what is wanted is handed to pydicom, which does all the parsing of values.
"""

import io
import struct
from collections.abc import Collection
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from fusc_pipeline.scans.frames import RejectedScan

FILE_META = b"\x02\x00\x00\x00UL\x04\x00"
"""How the file meta group begins."""
VRS = frozenset(vr.value.encode() for vr in VR)
LONG_VRS = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)
"""Value representations, and those with a length of four bytes."""
UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_MOST_ELEMENTS = 100_000


def walked(stream: BinaryIO, announced: UID | None, wanted: Collection[int]) -> Dataset:
    """The attributes whose tags are wanted; the stream is left at the pixel data, or the end.

    An undefined length ends at its sequence's end, whether or not its items end. Raises RejectedScan `damaged` when
    that does not lead to the pixel data.
    """
    start = _data_set_starts(stream)
    stream.seek(start)
    implicit = stream.read(6)[4:] not in VRS
    order = ">" if announced == ExplicitVRBigEndian else "<"
    kept, here, end, last = [], start, stream.seek(0, 2), 0
    for _ in range(_MOST_ELEMENTS):
        tag, length, value = _element_head(stream, here, implicit, order)
        if tag is None or tag >= _PIXEL_DATA:
            break
        if tag <= last or (length != UNDEFINED and value + length > end):
            raise RejectedScan("damaged", "the header cannot be read to its end")
        last = tag
        after = _past_sequence(stream, value, implicit, order) if length == UNDEFINED else value + length
        if tag in wanted and length != UNDEFINED:
            stream.seek(here)
            kept.append(stream.read(after - here))
        here = after
    head = bytes(128) + b"DICM"
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian
    named = (
        struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax) + len(syntax) % 2) + syntax.encode() + bytes(len(syntax) % 2)
    )
    group = FILE_META + struct.pack("<I", len(named))
    dataset = pydicom.dcmread(io.BytesIO(head + group + named + b"".join(kept)))
    stream.seek(here)
    return dataset


def _data_set_starts(stream: BinaryIO) -> int:
    """Where the data set begins: after the preamble and the file meta group."""
    stream.seek(0)
    here = 132 if stream.read(132)[128:] == b"DICM" else 0
    for _ in range(_MOST_ELEMENTS):
        tag, length, value = _element_head(stream, here, False, "<")
        if tag is None or tag >> 16 != 2:
            break
        here = value + length
    return here


def _element_head(stream: BinaryIO, here: int, implicit: bool, order: str) -> tuple[int | None, int, int]:
    """(tag, length of its value, where that begins) of the element at `here`; None at the end of the file."""
    stream.seek(here)
    head = stream.read(12)
    if len(head) < 8:
        return None, 0, here
    group, element = struct.unpack(order + "HH", head[:4])
    tag = group << 16 | element
    if implicit or group == 0xFFFE or head[4:6] not in VRS:
        return tag, struct.unpack(order + "I", head[4:8])[0], here + 8
    if head[4:6] not in LONG_VRS:
        return tag, struct.unpack(order + "H", head[6:8])[0], here + 8
    if len(head) < 12:
        return None, 0, here
    return tag, struct.unpack(order + "I", head[8:12])[0], here + 12


def _past_sequence(stream: BinaryIO, here: int, implicit: bool, order: str) -> int:
    """Where the element after a sequence of undefined length begins; sequences within it are walked through."""
    depth = 1
    for _ in range(_MOST_ELEMENTS):
        tag, length, value = _element_head(stream, here, implicit, order)
        if tag is None:
            break
        here = value
        if tag == _SEQUENCE_END:
            depth -= 1
            if depth == 0:
                return here
        elif tag in (_ITEM, _ITEM_END):
            here += length if length != UNDEFINED else 0
        elif length == UNDEFINED:
            depth += 1
        else:
            here += length
    raise RejectedScan("damaged", "a sequence in the header has no end")
