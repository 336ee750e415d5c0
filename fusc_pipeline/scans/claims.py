"""What a DICOM header says of its pixels, attribute by attribute; nothing is believed here, only read and bounded."""

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from fusc_pipeline.scans.frames import ReadLimits, RejectedScan

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
PALETTE = "PALETTE COLOR"
# Rows or columns of the smallest picture that can be a scan.
_SMALLEST = 16


@dataclass(frozen=True)
class Claims:
    """What the header says of the pixels; None: not given, or no number. photometric: in capitals, "" for none."""

    rows: int
    columns: int
    photometric: str
    samples: int | None
    planar: int | None
    frames: int | None
    allocated: int | None
    stored: int | None
    high: int | None
    signed: int | None

    @property
    def size(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def colours(self) -> str | None:
        """What the photometric interpretation says three samples are: "RGB", "YBR" or None."""
        if self.photometric not in COLOUR:
            return None
        return "RGB" if self.photometric == "RGB" else "YBR"


def read_claims(header: Dataset) -> Claims:
    """Raises RejectedScan `damaged` where rows or columns are missing or no numbers."""
    rows, columns = whole_number(header, "Rows"), whole_number(header, "Columns")
    missing = [name for name, value in (("Rows", rows), ("Columns", columns)) if value is None]
    if rows is None or columns is None:
        raise RejectedScan("damaged", f"{' and '.join(missing)} missing, or no number")
    photometric = text_of(header, "PhotometricInterpretation")
    return Claims(
        rows,
        columns,
        (photometric or "").upper(),
        whole_number(header, "SamplesPerPixel"),
        whole_number(header, "PlanarConfiguration"),
        whole_number(header, "NumberOfFrames"),
        whole_number(header, "BitsAllocated"),
        whole_number(header, "BitsStored"),
        whole_number(header, "HighBit"),
        whole_number(header, "PixelRepresentation"),
    )


def check_claims(claims: Claims, limits: ReadLimits) -> None:
    """Refuse what is not supported or over a limit, whatever the data are. Absent claims pass."""
    samples, allocated = claims.samples, claims.allocated
    known = claims.photometric in GREY | COLOUR | {PALETTE, ""}
    if not known or samples not in (None, 1, 3) or allocated not in (None, 8, 16):
        raise RejectedScan("unsupported_pixels", f"{samples} samples of {claims.stored} in {allocated} bits")
    limits.check_frame(
        claims.rows, claims.columns, 3 * (allocated or 8) // 8 if samples == 3 else (allocated or 8) // 8
    )
    if min(claims.size) < _SMALLEST:
        raise RejectedScan("no_scan", f"the picture is {claims.columns} x {claims.rows} pixels")
    if claims.frames is not None and claims.frames < 0:
        raise RejectedScan("damaged", f"claims {claims.frames} frames")
    limits.choose_frames(max(1, claims.frames or 1))


def whole_number(header: Dataset, keyword: str) -> int | None:
    """A numeric attribute, or None when it is missing, empty, has several values or is no whole number."""
    value = value_of(header, keyword)
    try:
        return None if value is None or value == "" or isinstance(value, (list, tuple)) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def text_of(header: Dataset, keyword: str) -> str | None:
    return str(value_of(header, keyword) or "").strip().strip("\0").strip() or None


def value_of(header: Dataset, keyword: str) -> Any:
    """An attribute's value; None where pydicom cannot make one of its bytes."""
    try:
        return header.get(keyword)
    except (ValueError, TypeError, AttributeError, NotImplementedError, KeyError, IndexError, OSError, ArithmeticError):
        return None
