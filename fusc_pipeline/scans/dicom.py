"""DICOM ultrasound files, decoded by pydicom one frame at a time. Only an allow-list of header attributes is ever read.

pydicom's exceptions and warnings quote attribute values, which name patients: none leaves this module as it is.
"""

import contextlib
import logging
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing, get_decoder, iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from fusc_pipeline.scans.encapsulated import Fragments, codestream_size, read_fragments
from fusc_pipeline.scans.frames import Frame, ReadLimits, RejectedScan, as_grey_if_equal, to_eight_bits
from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline.scans.region import mm_per_px_from_dicom, region_from_dicom

_TAGS = [
    "SOPClassUID", "Modality", "Manufacturer", "ManufacturerModelName", "PatientID", "StudyInstanceUID",
    "SequenceOfUltrasoundRegions", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
]  # fmt: skip
# Ultrasound, or what a frame grabber or converter writes for it; then the picture itself must hold a scan.
_MODALITIES = frozenset({"US", "IVUS", "OT", "SC", "XC", ""})
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_PALETTE = "PALETTE COLOR"

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
    MemoryError,
    SyntaxError,
    struct.error,
)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM: "DICM" after a preamble of 128 bytes that may hold anything.

    A bare data set without a preamble is not guessed at: pydicom's `force` takes almost any bytes for one.
    """
    return head[128:132] == b"DICM"


def read_dicom(path: Path, limits: ReadLimits) -> Iterator[Frame]:
    """The chosen frames of a DICOM file as uint8 grey or RGB. Raises RejectedScan, its details free of header values."""
    done = 0
    try:
        with _quiet(), open(path, "rb") as stream:
            header = _read_header(stream)
            _check_kind(header)
            n_frames = _check_claims(header, limits)
            indices = limits.choose_frames(n_frames)
            _check_pixel_data(stream, header, n_frames, limits)
            facts = _facts(header, n_frames)
            for index, stored in zip(indices, iter_pixels(stream, indices=indices), strict=True):
                pixels = as_grey_if_equal(_to_uint8(stored, header))
                if pixels.shape[:2] != (header.Rows, header.Columns):
                    raise RejectedScan("damaged", "decoded to another size than the header says")
                yield Frame(pixels, index, **facts)
                done += 1
    except RejectedScan:
        raise
    except _PARSE_ERRORS as error:
        raise RejectedScan("damaged", f"frame {done} could not be decoded ({type(error).__name__})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop pydicom's warnings and log lines: they quote attribute values."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _read_header(stream: BinaryIO, limits: ReadLimits) -> tuple[Dataset, UID]:
    """The allow-listed attributes and the transfer syntax; leaves the stream at the pixel data, or at the end."""
    stream.seek(132)
    # First the file meta alone: a deflated data set would be inflated whole by the parser, whatever its size.
    meta = pydicom.dcmread(stream.name, stop_before_pixels=True, specific_tags=["TransferSyntaxUID"], defer_size=64)
    raise NotImplementedError


