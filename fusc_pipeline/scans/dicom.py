"""DICOM ultrasound files, decoded by pydicom one frame at a time. Only an allow-list of header attributes is ever read.

pydicom's exceptions and warnings quote attribute values, which name patients: none leaves this module as it is.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, as_pixel_options, get_decoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MPEGTransferSyntaxes, RLELossless

from fusc_pipeline.scans.content import content_from_dicom
from fusc_pipeline.scans.decoders import PLUGIN, has_decoder
from fusc_pipeline.scans.deflated import inflated
from fusc_pipeline.scans.encapsulated import Fragment, codestream_size, read_fragments
from fusc_pipeline.scans.frames import Frame, ReadLimits, RejectedScan, as_grey_if_equal, quiet, to_eight_bits
from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline.scans.region import mm_per_px_from_dicom, region_from_dicom

_TAGS = [
    "SOPClassUID", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName", "PatientID", "StudyInstanceUID",
    "SequenceOfUltrasoundRegions", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip
# Ultrasound, or what a frame grabber or converter writes for it; then the picture itself must hold a scan.
_MODALITIES = frozenset({"US", "IVUS", "OT", "SC", "XC", ""})
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_PALETTE = "PALETTE COLOR"
# (7FE0,0010) in both byte orders.
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")

_PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    RecursionError,
    EOFError,
    OverflowError,
    ArithmeticError,
    AssertionError,
    LookupError,
    SyntaxError,
    struct.error,
)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM: "DICM" after a preamble of 128 bytes that may hold anything.

    A bare data set without a preamble is not guessed at: pydicom's `force` takes almost any bytes for one.
    """
    return head[128:132] == b"DICM"


def read_dicom(path: Path, limits: ReadLimits) -> Iterator[Frame]:
    """The chosen frames of a DICOM file as uint8 grey or RGB. Raises RejectedScan, free of header values."""
    done = 0
    try:
        with open(path, "rb") as delivered:
            with quiet():
                stream, header, syntax = _read_header(delivered, limits)
                _check_kind(header, syntax)
                n_frames = _check_claims(header, limits)
                indices = limits.choose_frames(n_frames)
                vr = _check_pixel_data(stream, header, syntax, n_frames)
                facts = _facts(header, syntax, n_frames)
            with contextlib.closing(_stored_frames(stream, header, syntax, vr, indices)) as stored:
                for index in indices:
                    with quiet():
                        pixels = as_grey_if_equal(_to_uint8(next(stored), header))
                    if pixels.shape[:2] != (header.Rows, header.Columns):
                        raise RejectedScan("damaged", "decoded to another size than the header says")
                    yield Frame(pixels, index, **facts)
                    done += 1
    except RejectedScan:
        raise
    except MemoryError:
        raise RejectedScan("too_much_memory") from None
    except _PARSE_ERRORS as error:
        raise RejectedScan("damaged", f"frame {done} could not be decoded ({type(error).__name__})") from None


def _read_header(delivered: BinaryIO, limits: ReadLimits) -> tuple[BinaryIO, Dataset, UID]:
    """The stream to go on with, at the pixel data or the end; the allow-listed attributes; the transfer syntax."""
    try:
        # First the file meta alone: a deflated data set would be inflated whole by the parser, whatever its size.
        named = pydicom.filereader.read_file_meta_info(delivered.name).get("TransferSyntaxUID")
        if not named:
            raise RejectedScan("damaged", "no transfer syntax")
        syntax = UID(str(named))
        deflated = syntax == DeflatedExplicitVRLittleEndian
        stream = inflated(delivered, limits.max_file_bytes) if deflated else delivered
        return stream, pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS), syntax
    except MemoryError:
        raise RejectedScan("damaged", "an attribute longer than any file") from None


def _check_kind(header: Dataset, syntax: UID) -> None:
    """Refuse what is no ultrasound picture, or one that no installed decoder reads."""
    modality = str(header.get("Modality") or "").strip().upper()
    if modality not in _MODALITIES:
        raise RejectedScan("not_ultrasound")
    if "Rows" not in header or "Columns" not in header:
        raise RejectedScan("no_pixels")
    if syntax in MPEGTransferSyntaxes:
        raise RejectedScan("video", syntax.name)
    if not has_decoder(syntax):
        # A registered syntax has a name that is safe to show; a private UID is somebody's own text.
        raise RejectedScan("unsupported_encoding", syntax.name if syntax.is_transfer_syntax else "a private encoding")


def _check_claims(header: Dataset, limits: ReadLimits) -> int:
    """The claimed pixel format against what is supported and the limits; gives the number of frames."""
    photometric, samples = _photometric(header), int(header.get("SamplesPerPixel") or 1)
    allocated, stored = int(header.get("BitsAllocated") or 0), int(header.get("BitsStored") or 0)
    known = photometric in (_COLOUR if samples == 3 else _GREY | {_PALETTE})
    known = known and (stored <= 8 or not photometric.startswith("YBR_FULL"))
    if not known or samples not in (1, 3) or allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise RejectedScan("unsupported_pixels", f"{samples} samples of {stored} in {allocated} bits")
    limits.check_frame(int(header.Rows), int(header.Columns), samples * allocated // 8)
    n_frames = int(header.get("NumberOfFrames") or 1)
    if n_frames < 1:
        raise RejectedScan("damaged", f"claims {n_frames} frames")
    return n_frames


def _photometric(header: Dataset) -> str:
    return str(header.get("PhotometricInterpretation") or "").strip().upper()


def _check_pixel_data(stream: BinaryIO, header: Dataset, syntax: UID, n_frames: int) -> str | None:
    """Whether the file holds the pixel data its header promises: all bytes, or all fragments of the promised size.

    Leaves the stream at the first byte of the value and gives its VR, None where the encoding has none.
    pydicom drops cut-short encapsulated data with a warning, and decoders believe the codestream over the header.
    """
    start = stream.tell()
    element = stream.read(12)
    if len(element) < 12:
        raise RejectedScan("truncated", "the file ends before the pixel data")
    if element[:4] not in _PIXEL_DATA:
        raise RejectedScan("unsupported_pixels", "pixel data of floating point numbers")
    vr = None if syntax.is_implicit_VR else element[4:6].decode("latin-1")
    value_starts = start + (8 if vr is None else 12)
    stream.seek(value_starts)
    if syntax.is_encapsulated:
        fragments = read_fragments(stream)
        if len(fragments) < n_frames:
            raise RejectedScan("truncated", f"{len(fragments)} fragments for {n_frames} frames")
        _check_fragments(stream, fragments, header, syntax, n_frames)
        stream.seek(value_starts)
        return vr
    pixels = int(header.Rows) * int(header.Columns) * n_frames
    in_pairs = _photometric(header) == "YBR_FULL_422"
    samples = 2 if in_pairs else int(header.get("SamplesPerPixel") or 1)
    expected = pixels * samples * int(header.BitsAllocated) // 8
    present = stream.seek(0, 2) - value_starts
    if present < expected:
        raise RejectedScan("truncated", f"{max(present, 0)} of {expected} bytes of pixel data")
    stream.seek(value_starts)
    return vr


def _check_fragments(stream: BinaryIO, fragments: list[Fragment], header: Dataset, syntax: UID, n_frames: int) -> None:
    if syntax == RLELossless:
        if len(fragments) != n_frames:
            raise RejectedScan("damaged", f"{len(fragments)} RLE fragments for {n_frames} frames")
        samples = int(header.get("SamplesPerPixel") or 1)
        picture = int(header.Rows) * int(header.Columns) * samples * int(header.BitsAllocated) // 8
        # At worst a byte of code for each byte of the picture, one in 128 more, and a header.
        if max(fragment.length for fragment in fragments) > 2 * picture + 4096:
            raise RejectedScan("too_many_pixels", "run-length code that is longer than its picture")
        return
    size = (int(header.Rows), int(header.Columns))
    for number, fragment in enumerate(fragments):
        found = codestream_size(stream, fragment)
        starts_frame = number == 0 or len(fragments) == n_frames
        if found is None and starts_frame:
            raise RejectedScan("damaged", "the pixel data holds no JPEG codestream")
        if found is not None and found != size:
            raise RejectedScan("damaged", f"codestream of {found[1]} x {found[0]}, header {size[1]} x {size[0]} pixels")


def _stored_frames(
    stream: BinaryIO, header: Dataset, syntax: UID, vr: str | None, indices: list[int]
) -> Iterator[np.ndarray]:
    """Stored values of the chosen frames, YBR made RGB; the stream is at the first byte of the pixel data's value."""
    options = as_pixel_options(header, pixel_keyword="PixelData", pixel_vr=vr)
    plugin = PLUGIN if syntax.is_encapsulated else ""
    for stored, _ in get_decoder(syntax).iter_array(stream, indices=indices, decoding_plugin=plugin, **options):
        yield stored


def _facts(header: Dataset, syntax: UID, n_frames: int) -> dict[str, Any]:
    """The fields of Frame that all frames of the file share."""
    shape = (int(header.Rows), int(header.Columns))
    return {
        "n_frames": n_frames,
        "source_format": "dicom",
        "transfer_syntax": str(syntax),
        "photometric": _photometric(header),
        "machine": machine_name(_text(header, "Manufacturer"), _text(header, "ManufacturerModelName")),
        "patient_id": _text(header, "PatientID"),
        "study_uid": _text(header, "StudyInstanceUID"),
        "region": region_from_dicom(header, shape),
        "mm_per_px": mm_per_px_from_dicom(header, shape),
        "content": content_from_dicom(header, shape),
    }


def _text(header: Dataset, keyword: str) -> str | None:
    return str(header.get(keyword) or "").strip().strip("\0") or None


def _to_uint8(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Stored values -> uint8 grey or RGB. pydicom has undone YBR already; palette, polarity and depth are done here."""
    photometric, bits = _photometric(header), int(header.BitsStored)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if photometric == _PALETTE:
        return _through_palette(stored, header)
    if photometric in _COLOUR:
        return to_eight_bits(stored, bits)
    grey = _grey_to_uint8(stored, header, bits)
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _grey_to_uint8(stored: np.ndarray, header: Dataset, bits: int) -> np.ndarray:
    """Through the file's window where there is one and it matters (more than 8 bits), else by the full stored range."""
    if bits > 8 and header.get("WindowCenter") is not None and header.get("WindowWidth") is not None:
        values = apply_windowing(apply_modality_lut(stored, header), header).astype(np.float64)
        low, high = _window_range(header, bits)
        return np.clip(np.rint((values - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
    if int(header.get("PixelRepresentation") or 0) == 1:
        stored = (stored.astype(np.int32) + (1 << (bits - 1))).clip(0)
    return to_eight_bits(stored, bits)


def _window_range(header: Dataset, bits: int) -> tuple[float, float]:
    """The output range of pydicom's `apply_windowing`: that of the stored type, rescaled."""
    signed = int(header.get("PixelRepresentation") or 0) == 1
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    low, high = sorted((low * slope + intercept, high * slope + intercept))
    if not high > low:
        raise RejectedScan("damaged", "a rescale slope of zero")
    return low, high


def _through_palette(stored: np.ndarray, header: Dataset) -> np.ndarray:
    coloured = apply_color_lut(stored, header)
    if coloured.dtype.itemsize == 1:
        return coloured
    # 16-bit tables usually hold the colour in the high byte; some writers leave 8-bit colours in the low one.
    tables = [header.get(f"{name}PaletteColorLookupTableData") for name in ("Red", "Green", "Blue")]
    brightest = max((int(np.frombuffer(table, coloured.dtype).max()) for table in tables if table), default=0xFFFF)
    return to_eight_bits(coloured, 8 if brightest <= 0xFF else 16)
