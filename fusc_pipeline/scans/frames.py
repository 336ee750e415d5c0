"""What reading a scan gives (`Frame`), what it may cost (`ReadLimits`) and why it is refused (`RejectedScan`).

No format is decoded here: see `dicom` and `raster`; `reading` picks between them.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fusc_pipeline.base.errors import BadInput, BadSetting

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels; left and top inclusive, right and bottom exclusive."""

# Reason code -> what it means and what to do. The only words of a rejection that are not counts or format names.
REASONS: dict[str, str] = {
    "empty": "the file holds no bytes; deliver it again",
    "too_large": "the file is over the size limit; split it or raise max_file_bytes",
    "unreadable": "the file could not be opened or read; check its permissions and the disk",
    "not_a_file": "not a regular file (a pipe, socket or device); remove it from the batch",
    "link": "a link that leaves the batch folder, or a link to a folder; deliver the file itself",
    "not_an_image": "the content is neither DICOM, PNG, JPEG nor TIFF; remove it from the batch",
    "no_dicom_head": "a DICOM data set without its head, it seems; write it as a DICOM file (dcmconv -f +F IN OUT)",
    "truncated": "the file ends before its picture does; copy it again from its source",
    "damaged": "the content contradicts its own header or cannot be decoded; export it again",
    "too_many_pixels": "the header claims more pixels than the limit; raise max_pixels or max_decoded_bytes if real",
    "empty_picture": "the header promises a picture, but its pixel data is empty; export it again",
    "no_pixels": "a DICOM object without a picture (a report, a directory); remove it from the batch",
    "unsupported_encoding": "there is no decoder for this encoding; export it uncompressed or as JPEG baseline",
    "video": "a video encoding, which is not read; export the clip as single frames or as multi-frame JPEG baseline",
    "unsupported_pixels": "pixel format not supported; export it as 8 to 16 bit grey, RGB, YBR or palette",
    "too_slow": "reading took longer than its time limit; export it uncompressed, or with fewer frames a file",
    "too_much_memory": "reading needed more memory than its limit; export it uncompressed, or split it",
    "reader_died": "the process that read the file ended, twice; the file is hostile or hits a fault: set it aside",
    "not_ultrasound": "the header says another modality than ultrasound; remove it from the batch",
    "no_scan": "no ultrasound image was found in the picture; remove it, or check the export",
    "archive_limit": "an archive, or a member of one, that unpacks to more than is allowed; deliver it unpacked",
    "nested_archive": "an archive within an archive is not opened; unpack the inner one",
    "packed_file": "packed in a way that is not opened here; unpack it, or pack the folder as zip or tar.gz",
    "encrypted": "the member is encrypted; deliver it without a password",
    "unsafe_name": "the member's name leads out of the archive; pack the folder again",
    "bad_row": "this row of the data set's table is not used; its image is taken without a label",
    "duplicate_row": "the same row stands in the data set's table before; nothing to do",
    "row_without_image": "the data set's table names an image that was not delivered; copy it into Images/",
    "contradiction": "the same picture stands in the data set with another label; neither is used; correct its table",
    "duplicate": "the same picture was delivered before in this batch; nothing to do",
}


class RejectedScan(BadInput):
    """A file or frame that is not taken. `reason` is a code of REASONS; `detail` says it in words.

    `detail` never quotes the file: only counts, sizes and names of formats go in.
    """

    def __init__(self, reason: str, found: str = "") -> None:
        self.reason = reason
        self.found = found
        self.detail = f"{found}: {REASONS[reason]}" if found else REASONS[reason]
        super().__init__(self.detail)

    def __reduce__(self) -> tuple:
        return type(self), (self.reason, self.found)


class NoFan(BadInput):
    """The picture holds no fan that can be trusted. `reason` says what was seen instead."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no ultrasound fan was found: {reason}; check that the file is an ultrasound frame")

    def __reduce__(self) -> tuple:
        return type(self), (self.reason,)


@dataclass(frozen=True)
class ReadLimits:
    """What reading one file may cost; all are checked against the header's claims before anything is decoded.

    max_file_bytes: size of the file on disk. max_pixels: rows x columns of one frame. max_decoded_bytes: bytes the
    samples of one frame may take. max_frames: frames one file may claim. frames_per_clip: evenly spaced frames taken
    from a file with several.
    """

    max_file_bytes: int = 256 << 20
    max_pixels: int = 1 << 24
    max_decoded_bytes: int = 512 << 20
    max_frames: int = 20_000
    frames_per_clip: int = 8

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_pixels", "max_decoded_bytes", "max_frames", "frames_per_clip"):
            if getattr(self, name) < 1:
                raise BadSetting(f"{name} is {getattr(self, name)}: set it to 1 or more")

    def check_frame(self, height: int, width: int, bytes_per_pixel: int) -> None:
        """Refuse a claimed frame size: `damaged` when it is not positive, `too_many_pixels` when over a limit."""
        if height < 1 or width < 1:
            raise RejectedScan("damaged", f"claims {width} x {height} pixels")
        if height * width > self.max_pixels or height * width * bytes_per_pixel > self.max_decoded_bytes:
            raise RejectedScan("too_many_pixels", f"claims {width} x {height} pixels of {bytes_per_pixel} bytes")

    def choose_frames(self, n_frames: int) -> list[int]:
        """Evenly spaced frame indices, first and last included when more than one is taken, ascending."""
        if n_frames > self.max_frames:
            raise RejectedScan("too_many_pixels", f"claims {n_frames} frames, more than max_frames = {self.max_frames}")
        count = min(self.frames_per_clip, n_frames)
        if count == 1:
            return [0] if n_frames == 1 else [n_frames // 2]
        return [round(i * (n_frames - 1) / (count - 1)) for i in range(count)]


@dataclass
class Frame:
    """One decoded frame. pixels: uint8, (H, W) grey or (H, W, 3) RGB with channels that differ.

    region: the ultrasound region as DICOM gives it, else None; mm_per_px: millimetres, None where unknown. content: one
    of schemas.CONTENTS where DICOM names it, else None. notes: what was decided against the header, in words that hold
    none of its values.
    patient_id and study_uid are identifying: they are for `identity.KeyRing` only and must not be stored.
    """

    pixels: np.ndarray
    frame_index: int
    n_frames: int
    source_format: str
    transfer_syntax: str | None = None
    photometric: str | None = None
    machine: str | None = None
    patient_id: str | None = None
    study_uid: str | None = None
    region: Box | None = None
    mm_per_px: float | None = None
    content: str | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.pixels.shape))
        return f"Frame({self.source_format} {shape}, frame {self.frame_index} of {self.n_frames})"


_TALKATIVE = (
    "pydicom",
    "pydicom.pixels.utils",
    "PIL.Image",
    "PIL.ImageFile",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings, and the log lines of pydicom and Pillow: they quote attribute values and paths."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def as_grey_if_equal(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) with three equal channels -> (H, W), so that one picture has one identity; anything else as it is."""
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(pixels, -1, 0)
        # A few rows first: they tell most colour pictures.
        for rows in (slice(None, None, 16), slice(None)):
            if not (np.array_equal(red[rows], green[rows]) and np.array_equal(red[rows], blue[rows])):
                return np.ascontiguousarray(pixels)
        return np.ascontiguousarray(red)
    return np.ascontiguousarray(pixels)


def to_eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned integers of `bits` significant bits -> uint8 by their full range (a shift; no per-frame stretching)."""
    if bits == 8 and values.dtype == np.uint8:
        return values
    if bits > 8:
        values = values >> (bits - 8)
    elif bits < 8:
        values = (values.astype(np.uint16) * 255) // ((1 << bits) - 1)
    return np.minimum(values, 255).astype(np.uint8)
