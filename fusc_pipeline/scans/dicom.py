"""DICOM ultrasound files, one frame at a time: `header` finds the pixel data, `layout` or `encapsulated` the frames in
it, `decoders` and `depth` make them pictures.

pydicom's exceptions and warnings quote attribute values, which name patients: none leaves this module as it is.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, MPEGTransferSyntaxes, RLELossless

from fusc_pipeline.scans.claims import GREY, PALETTE, Claims, check_claims, read_claims, text_of
from fusc_pipeline.scans.codestream import begins_codestream, read_codestream
from fusc_pipeline.scans.decoders import Decoded, decode, has_decoder
from fusc_pipeline.scans.depth import Depth, Survey, decide_depth, needs_survey, to_grey_or_rgb
from fusc_pipeline.scans.encapsulated import Pieces, codestreams, read_fragments, read_pieces, run_lengths
from fusc_pipeline.scans.frame_content import content_from_dicom
from fusc_pipeline.scans.frames import Frame, ReadLimits, RejectedScan, as_grey_if_equal, quiet
from fusc_pipeline.scans.header import Header, PixelElement, read_header
from fusc_pipeline.scans.layout import Layout, as_rgb, count_note, decide_colours, native_layout
from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline.scans.region import mm_per_px_from_dicom, region_from_dicom

# Ultrasound, or what a frame grabber or converter writes for it; then the picture itself must hold a scan.
_MODALITIES = frozenset({"US", "IVUS", "OT", "SC", "XC", ""})
_ITEM = b"\xfe\xff\x00\xe0"

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


def read_dicom(path: Path, limits: ReadLimits) -> Iterator[Frame]:
    """The chosen frames of a DICOM file as uint8 grey or RGB. Raises RejectedScan, free of header values."""
    done = 0
    try:
        with open(path, "rb") as delivered:
            with quiet():
                header = read_header(delivered, limits.max_file_bytes)
                _check_kind(header)
                claims = read_claims(header.dataset)
                check_claims(claims, limits)
                frames = _frames_of(header, claims, limits)
                indices = limits.choose_frames(len(frames))
                depth = _depth(header, claims, frames, indices)
                facts = _facts(header, claims, len(frames))
            for index in indices:
                with quiet():
                    pixels = as_grey_if_equal(to_grey_or_rgb(frames[index], header.dataset, depth))
                if pixels.shape[:2] != claims.size:
                    raise RejectedScan("damaged", "decoded to another size than the header says")
                yield Frame(pixels, index, **facts)
                done += 1
    except RejectedScan:
        raise
    except MemoryError:
        raise RejectedScan("too_much_memory") from None
    except _PARSE_ERRORS as error:
        raise RejectedScan("damaged", f"frame {done} could not be decoded ({type(error).__name__})") from None


def _check_kind(header: Header) -> None:
    """Refuse what is no ultrasound picture, or one that no installed decoder reads."""
    dataset, syntax = header.dataset, header.syntax
    # A data set without a head could be many things: there the word must be said.
    modalities = _MODALITIES if not header.bare else {"US", "IVUS"}
    if (text_of(dataset, "Modality") or "").upper() not in modalities:
        raise RejectedScan("not_ultrasound")
    if header.pixels is None and not ("Rows" in dataset and "Columns" in dataset):
        raise RejectedScan("no_pixels")
    if syntax in MPEGTransferSyntaxes:
        raise RejectedScan("video", syntax.name)
    if not has_decoder(syntax):
        # A registered syntax has a name that is safe to show; a private UID is somebody's own text.
        raise RejectedScan("unsupported_encoding", syntax.name if syntax.is_transfer_syntax else "a private encoding")


def _frames_of(header: Header, claims: Claims, limits: ReadLimits) -> "_Native | _Coded":
    """The frames that the pixel data hold, decoded when they are asked for. Raises RejectedScan."""
    pixels, syntax = header.pixels, header.syntax
    if pixels is None:
        raise RejectedScan("truncated", "the file ends before the pixel data")
    if syntax.is_encapsulated:
        if pixels.length is not None:
            raise RejectedScan("damaged", "a compressed syntax, but the pixel data is not in fragments")
        return _Coded(header, pixels, claims, limits)
    if pixels.length is None:
        raise RejectedScan("damaged", "an uncompressed syntax, but the pixel data is in fragments")
    if not pixels.length:
        raise RejectedScan("empty_picture")
    return _Native(header, pixels, pixels.length, claims)


class _Native:
    """Frames of uncompressed pixel data. Nothing beyond the element's declared length is read."""

    def __init__(self, header: Header, pixels: PixelElement, length: int, claims: Claims) -> None:
        self._stream, self._pixels = header.stream, pixels
        # Bytes in 16-bit words, which big-endian files turn around (PS3.5 annex A.3).
        words = header.syntax == ExplicitVRBigEndian and self._pixels.vr == "OW"
        if words and claims.allocated is None:
            raise RejectedScan("unsupported_pixels", "BitsAllocated is missing")
        self._swapped = words and claims.allocated == 8
        # Half a word at the end has lost its other half.
        self._present = self._pixels.present - (self._pixels.present % 2 if self._swapped else 0)
        head = self.read(0, min(self._present, 1 << 16))
        if head[:4] == _ITEM or (begins_codestream(head[:12]) and read_codestream(head) is not None):
            raise RejectedScan("damaged", "an uncompressed syntax, but the pixel data holds a compressed picture")
        big_endian = header.syntax == ExplicitVRBigEndian
        self._layout: Layout = native_layout(claims, self._present, self.read, big_endian, header.notes)
        if self._pixels.present < length:
            header.notes.append("the file ends before the pixel data's declared end")
        self.allocated, self.coded_bits = self._layout.allocated, None

    def __len__(self) -> int:
        return self._layout.frames

    def __getitem__(self, index: int) -> np.ndarray:
        data = self.read(self._layout.offset(index), self._layout.frame_bytes)
        return as_rgb(self._layout.picture(data), self._layout.colours)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the value, in the order of their samples."""
        lead = offset % 2 if self._swapped else 0
        wanted = min(lead + size + (lead + size) % 2, self._present - offset + lead) if self._swapped else size
        self._stream.seek(self._pixels.offset + offset - lead)
        data = self._stream.read(min(wanted, self._present - offset + lead))
        if self._swapped:
            words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2")
            data = words.astype("<u2").tobytes()[lead : lead + size]
        return data


class _Coded:
    """Frames of encapsulated pixel data: every codestream is one, whatever the offset table or the count says."""

    def __init__(self, header: Header, pixels: PixelElement, claims: Claims, limits: ReadLimits) -> None:
        self._stream, self._syntax, self._size = header.stream, header.syntax, claims.size
        self._claims, self._notes = claims, header.notes
        self._stream.seek(pixels.offset)
        fragments, proper = read_fragments(self._stream)
        if not fragments:
            raise RejectedScan(
                *(("empty_picture",) if proper else ("truncated", "the file ends before the pixel data"))
            )
        find = run_lengths if self._syntax == RLELossless else codestreams
        self._frames: list[Pieces] = find(self._stream, fragments)
        said = claims.frames
        if len(self._frames) < max(1, said or 1):
            raise RejectedScan("truncated", f"{len(self._frames)} compressed frames of {said}")
        limits.choose_frames(len(self._frames))
        self._check_sizes()
        if len(self._frames) != max(1, said or 1) or said == 0:
            self._notes.append(count_note(said, len(self._frames)))
        if not proper:
            self._notes.append("the pixel data has no proper end; its fragments are whole")
        self._colours: str | None = None
        self._held: tuple[tuple[int, str | None], Decoded] | None = None
        first = self._decoded(0)
        self.allocated, self.coded_bits = 8 * first.values.dtype.itemsize, first.bits
        samples = 3 if first.values.ndim == 3 else 1
        if claims.samples is not None and samples != claims.samples:
            self._notes.append(f"the header said {claims.samples} samples, the codestream has {samples}")
        if samples == 3 and first.colours is None:
            self._colours = decide_colours(claims, first.values, self._notes)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        found = self._decoded(index)
        return as_rgb(found.values, found.colours or self._colours)

    def _decoded(self, index: int) -> Decoded:
        # The first frame is looked at, and then taken: it is decoded once.
        if self._held is None or self._held[0] != (index, self._colours):
            stream = read_pieces(self._stream, self._frames[index])
            self._held = (index, self._colours), decode(self._syntax, stream, self._size, self._colours)
        return self._held[1]

    def _check_sizes(self) -> None:
        """Refuse codestreams of another size than the header's: decoders believe the codestream."""
        rows, columns = self._size
        for number, pieces in enumerate(self._frames):
            if self._syntax == RLELossless:
                # At worst a byte of code for each byte of the picture, one in 128 more, and a header.
                if sum(piece.length for piece in pieces) > 2 * 6 * rows * columns + 4096:
                    raise RejectedScan("too_many_pixels", "run-length code that is longer than its picture")
                continue
            found = read_codestream(read_pieces(self._stream, pieces))
            if found is None:
                raise RejectedScan("damaged", f"frame {number} is no JPEG codestream")
            if (found.rows, found.columns) != self._size:
                raise RejectedScan(
                    "damaged", f"codestream of {found.columns} x {found.rows}, header {columns} x {rows} pixels"
                )


def _depth(header: Header, claims: Claims, frames: Any, indices: list[int]) -> Depth:
    """Decided on the first frame, or on all that are taken where it takes them; the header is settled by it."""
    survey = Survey()
    for index in indices if needs_survey(claims, frames.allocated) else indices[:1]:
        survey.add(frames[index])
    depth = decide_depth(claims, header.dataset, survey, frames.coded_bits, header.notes)
    # What pydicom's own functions ask the header for.
    dataset = header.dataset
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = frames.allocated, depth.bits, depth.bits - 1
    dataset.PixelRepresentation = int(depth.signed)
    if survey.of_first().ndim == 2:
        known = claims.photometric if claims.photometric in GREY | {PALETTE} else "MONOCHROME2"
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel = known, 1
    return depth


def _facts(header: Header, claims: Claims, n_frames: int) -> dict[str, Any]:
    """The fields of Frame that all frames of the file share."""
    dataset = header.dataset
    if not _is_readable(dataset, "SequenceOfUltrasoundRegions"):
        header.notes.append("the ultrasound regions could not be read; the picture tells where the scan is")
        del dataset[0x00186011]
    return {
        "n_frames": n_frames,
        "source_format": "dicom",
        "transfer_syntax": str(header.syntax),
        "photometric": claims.photometric or None,
        "machine": machine_name(text_of(dataset, "Manufacturer"), text_of(dataset, "ManufacturerModelName")),
        "patient_id": text_of(dataset, "PatientID"),
        "study_uid": text_of(dataset, "StudyInstanceUID"),
        "region": region_from_dicom(dataset, claims.size),
        "mm_per_px": mm_per_px_from_dicom(dataset, claims.size),
        "content": content_from_dicom(dataset, claims.size),
        "notes": tuple(header.notes),
    }


def _is_readable(dataset: Dataset, keyword: str) -> bool:
    """Whether a sequence, where there is one, and all of its items can be made of its bytes."""
    try:
        for item in dataset.get(keyword) or []:
            for element in item:
                element.value  # noqa: B018
        return True
    except _PARSE_ERRORS:
        return False
