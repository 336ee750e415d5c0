"""The header of a DICOM file: an allow-list of attributes, and where its pixel data lies. No pixel is looked at here.

pydicom parses it. A sequence that is written wrong, which nobody needs, must not cost the picture: then the elements of
the data set are walked through here, and only those of the allow-list are handed to pydicom.
"""

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from fusc_pipeline.scans.codestream import read_codestream
from fusc_pipeline.scans.deflated import inflated
from fusc_pipeline.scans.encapsulated import read_fragments
from fusc_pipeline.scans.frames import RejectedScan
from fusc_pipeline.scans.walk import FILE_META, LONG_VRS, UNDEFINED, VRS, walked

TAGS = [
    "SOPClassUID", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName", "PatientID", "StudyInstanceUID",
    "SequenceOfUltrasoundRegions", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
]  # fmt: skip
_SEQUENCES = frozenset({"SequenceOfUltrasoundRegions", "ModalityLUTSequence"})
# All of them but sequences: those are left out of a header that is written wrong.
_WANTED = frozenset(int(Tag(keyword)) for keyword in TAGS if keyword not in _SEQUENCES)
_PIXEL_DATA, _FLOATING = 0x7FE00010, (0x7FE00008, 0x7FE00009)
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
# The first element of a data set without a head: (0008,00xx), of these, with a short value of plain text.
_FIRST = frozenset({0x0001, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018})
_FIRST_VRS = frozenset({b"UL", b"CS", b"DA", b"TM", b"UI"})


@dataclass(frozen=True)
class PixelElement:
    """The value of (7FE0,0010). offset: its first byte in the stream; length: bytes as declared, None for fragments;
    present: those that the file holds of them; vr: None where the encoding has none."""

    offset: int
    length: int | None
    present: int
    vr: str | None


@dataclass
class Header:
    """stream: what the offsets are of; dataset: the allow-listed attributes; syntax: transfer syntax;
    bare: whether the file has neither preamble nor file meta; notes: what was found otherwise than announced."""

    stream: BinaryIO
    dataset: Dataset
    syntax: UID
    pixels: PixelElement | None
    bare: bool = False
    notes: list[str] = field(default_factory=list)


def begins_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM: "DICM" after a preamble of 128 bytes that may hold anything.

    Also, without that preamble, a file meta group, or a data set's first element where it is one without doubt:
    pydicom's `force` would take almost any bytes for one.
    """
    return head[128:132] == b"DICM" or head[:8] == FILE_META or _begins_bare(head)


def resembles_dicom(head: bytes) -> bool:
    """Whether bytes that `begins_dicom` does not know may still be a data set without its head: group 0008 first."""
    little, big = head[:2] == b"\x08\0" and head[3:4] == b"\0", head[:3] == b"\0\x08\0"
    return (little or big) and (head[4:6] in VRS or (little and head[6:8] == b"\0\0"))


def _begins_bare(head: bytes) -> bool:
    if len(head) < 16 or head[:2] != b"\x08\x00":
        return False
    element = int.from_bytes(head[2:4], "little")
    if element == 0:  # A group length: UL of four bytes.
        return head[4:8] in (b"UL\x04\x00", b"\x04\x00\x00\x00")
    if element not in _FIRST:
        return False
    explicit = head[4:6] in _FIRST_VRS
    length = int.from_bytes(head[6:8] if explicit else head[4:8], "little")
    value = head[8 : 8 + length].rstrip(b"\0 ")
    return 0 < length <= 64 and length % 2 == 0 and value.isascii() and value.decode("ascii", "replace").isprintable()


def read_header(delivered: BinaryIO, max_bytes: int) -> Header:
    """The header of an open file. max_bytes: what a deflated data set may inflate to.

    Raises RejectedScan, or what pydicom raises on a header that cannot be parsed.
    """
    notes: list[str] = []
    stream, announced = _with_head(delivered, max_bytes, notes)
    try:
        dataset: Dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=TAGS, force=True)
    except MemoryError:
        raise RejectedScan("damaged", "an attribute longer than any file") from None
    except (OSError, EOFError, ValueError, NameError, struct.error, RecursionError):
        dataset = walked(stream, announced, _WANTED)
        notes.append("a part of the header is written wrong and was left out")
    implicit, little = _encoding_of(dataset)
    if announced is None:
        announced = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        notes.append("no transfer syntax is given; it was found from the data")
        unknown = True
    else:
        unknown = False
        if not announced.is_private and announced.is_transfer_syntax and implicit != announced.is_implicit_VR:
            notes.append(f"the header is written {'without' if implicit else 'with'} value types, against its syntax")
    pixels = _pixel_element(stream, implicit, little)
    if pixels is None and _mentions_pixels(stream):
        # A length that is wrong leads past the picture; then that is what is wrong, not that there is none.
        walked(stream, announced, _WANTED)
    if unknown and pixels is not None and pixels.length is None:
        announced = _syntax_of(stream, pixels)
    return Header(stream, dataset, announced, pixels, not dataset.preamble and not dataset.file_meta, notes)


def _with_head(delivered: BinaryIO, max_bytes: int, notes: list[str]) -> tuple[BinaryIO, UID | None]:
    """The stream to parse, and the transfer syntax that the file meta names."""
    delivered.seek(0)
    head = delivered.read(1024)
    delivered.seek(0)
    if head[128:132] != b"DICM":
        notes.append("the file has no DICOM preamble")
        if head[:8] != FILE_META:
            return delivered, None
        if _DEFLATED in head:
            raise RejectedScan("unsupported_encoding", "a deflated data set without a preamble")
        meta = pydicom.dcmread(delivered, stop_before_pixels=True, specific_tags=["SOPClassUID"], force=True).file_meta
        delivered.seek(0)
    else:
        # First the file meta alone: a deflated data set would be inflated whole by the parser, whatever its size.
        meta = pydicom.filereader.read_file_meta_info(delivered.name)
    named = meta.get("TransferSyntaxUID")
    syntax = UID(str(named)) if named else None
    if syntax == DeflatedExplicitVRLittleEndian:
        return inflated(delivered, max_bytes), syntax
    return delivered, syntax


def _encoding_of(dataset: Dataset) -> tuple[bool, bool]:
    """(without value types, little endian), as pydicom found the elements to be written, whatever was announced."""
    implicit, little = dataset.original_encoding
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement):
            return element.is_implicit_VR, element.is_little_endian
    return bool(implicit), bool(little)


def _mentions_pixels(stream: BinaryIO) -> bool:
    stream.seek(0)
    data = stream.read()
    return any(head in data for head in (b"\xe0\x7f\x10\x00O", b"\x7f\xe0\x00\x10O"))


def _pixel_element(stream: BinaryIO, implicit: bool, little: bool) -> PixelElement | None:
    """The element at the stream's place, where it is the pixel data; None at the end of the file.

    Its declared length decides what belongs to it. Raises RejectedScan for pixel data of another kind.
    """
    order = "<" if little else ">"
    start = stream.tell()
    head = stream.read(12)
    end = stream.seek(0, 2)
    if len(head) < 8:
        return None
    group, element = struct.unpack(order + "HH", head[:4])
    tag = group << 16 | element
    if tag in _FLOATING:
        raise RejectedScan("unsupported_pixels", "pixel data of floating point numbers")
    if tag != _PIXEL_DATA:
        return None
    explicit = not implicit and head[4:6] in VRS
    if not explicit:
        offset, length, vr = start + 8, struct.unpack(order + "I", head[4:8])[0], None
    elif head[4:6] not in LONG_VRS:
        offset, length, vr = start + 8, struct.unpack(order + "H", head[6:8])[0], head[4:6].decode()
    elif len(head) < 12:
        return None
    else:
        offset, length, vr = start + 12, struct.unpack(order + "I", head[8:12])[0], head[4:6].decode()
    if length == UNDEFINED:
        return PixelElement(offset, None, max(0, end - offset), vr)
    return PixelElement(offset, length, min(length, max(0, end - offset)), vr)


def _syntax_of(stream: BinaryIO, pixels: PixelElement) -> UID:
    """The transfer syntax of fragments that nobody named, by their first codestream. Raises RejectedScan."""
    stream.seek(pixels.offset)
    fragments, _ = read_fragments(stream)
    for fragment in fragments[:1]:
        stream.seek(fragment.offset)
        found = read_codestream(stream.read(min(fragment.length, 1 << 16)))
        if found is not None:
            if found.kind == "jpeg":
                return JPEGLosslessSV1 if found.lossless else JPEGBaseline8Bit
            return JPEGLSLossless if found.kind == "jpeg-ls" else JPEG2000
    raise RejectedScan("damaged", "compressed pixel data whose transfer syntax is not given")
