"""Stored values of a DICOM picture -> uint8: where the bits lie, their sign, window, palette and polarity.

Decided once for a file, on all frames that are taken from it, so that a clip keeps one brightness.
"""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing

from fusc_pipeline.scans import evidence
from fusc_pipeline.scans.claims import PALETTE, Claims, text_of, value_of
from fusc_pipeline.scans.frames import RejectedScan, to_eight_bits

# A picture that uses less than this share of what its header allows was not written with that depth.
_USED = 16
_DEPTHS = (8, 10, 12)
# Share of neighbouring pixels between which an overlay, letters and lines, begins or ends.
_GRAPHICS = 0.1


@dataclass(frozen=True)
class Depth:
    """bits: significant ones, 1 to 16; shift: unused ones below them; signed: two's complement; window: whether the
    header's window is applied; inverted: whether the lowest value is white."""

    bits: int
    shift: int = 0
    signed: bool = False
    window: bool = False
    inverted: bool = False


@dataclass
class Survey:
    """What the values of all taken frames amount to. combined: their bits, or-ed; first: the first frame's values."""

    combined: int = 0
    first: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        self.combined |= int(np.bitwise_or.reduce(values, axis=None))
        self.first = values if self.first is None else self.first

    def of_first(self) -> np.ndarray:
        """The first frame's values; there is one before anything is decided."""
        assert self.first is not None
        return self.first


def needs_survey(claims: Claims, allocated: int) -> bool:
    """Whether the depth cannot be told from the header alone."""
    return allocated > 8 or claims.signed == 1 or not claims.photometric or claims.stored not in (8, None)


def decide_depth(claims: Claims, header: Dataset, survey: Survey, coded: int | None, notes: list[str]) -> Depth:
    """How the values are to be read. coded: bits that the codestream says, None for uncompressed values.

    Raises RejectedScan where header and values contradict each other.
    """
    first = survey.of_first()
    width = 8 * first.dtype.itemsize
    colour = first.ndim == 3
    depth = _position(claims, width, survey, coded, notes)
    if colour:
        return depth
    inverted = _is_inverted(claims, header, survey, depth, notes)
    if claims.photometric == PALETTE:
        return Depth(depth.bits, depth.shift)
    if claims.signed == 1:
        if evidence.has_sign(_cut_out(first, depth), depth.bits):
            depth = Depth(depth.bits, depth.shift, signed=True)
        else:
            notes.append("the values are said to have a sign, but have none")
    if depth.bits > 8 and has_window(header):
        return Depth(depth.bits, depth.shift, depth.signed, True, inverted)
    bits = depth.bits
    if not depth.signed and bits > 8 and (survey.combined >> depth.shift) & ((1 << bits) - 1) < (1 << bits) // _USED:
        used = (survey.combined >> depth.shift) & ((1 << bits) - 1)
        bits = next(number for number in (*_DEPTHS, bits) if used < 1 << number)
        notes.append(f"values of {depth.bits} bits are announced, {bits} are used")
    return Depth(bits, depth.shift, depth.signed, False, inverted)


def to_grey_or_rgb(values: np.ndarray, header: Dataset, depth: Depth) -> np.ndarray:
    """Stored values (H, W), or RGB (H, W, 3) -> uint8 grey or RGB."""
    values = _cut_out(values, depth)
    if values.ndim == 3:
        return to_eight_bits(values, depth.bits)
    if (text_of(header, "PhotometricInterpretation") or "").upper() == PALETTE:
        return _through_palette(values, header)
    if depth.signed:
        values = _with_sign(values, depth.bits)
    if depth.window:
        shown = apply_windowing(apply_modality_lut(values, header), header).astype(np.float64)
        low, high = _window_range(header, depth)
        grey = np.clip(np.rint((shown - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
    else:
        if depth.signed:
            values = values.astype(np.int32) + (1 << (depth.bits - 1))
        grey = to_eight_bits(values, depth.bits)
    return 255 - grey if depth.inverted else grey


def has_window(header: Dataset) -> bool:
    """Whether the header has a window that shows more than black and white (PS3.3 C.11.2.1.2 allows none below 1)."""
    widths, centres = value_of(header, "WindowWidth"), value_of(header, "WindowCenter")
    if widths in (None, "") or centres in (None, ""):
        return False
    try:
        width = float(widths[0] if isinstance(widths, (list, tuple)) or hasattr(widths, "append") else widths)
    except (TypeError, ValueError, IndexError):
        return False
    return width > 1


def _position(claims: Claims, width: int, survey: Survey, coded: int | None, notes: list[str]) -> Depth:
    """Where the significant bits of a sample lie."""
    stored = claims.stored if claims.stored is not None else (claims.high or width - 1) + 1
    stored = stored if 1 <= stored <= width else width
    if coded is not None:
        # The codestream knows its depth; many hold fewer bits, as the header says.
        bits = min(stored, coded) if survey.combined < 1 << min(stored, coded) else coded
        if bits < stored or bits != min(stored, coded):
            notes.append(f"values of {stored} bits are announced, {bits} are there")
        return Depth(bits)
    high = claims.high if claims.high is not None and stored - 1 <= claims.high < width else stored - 1
    shift = high + 1 - stored
    if shift and survey.combined < 1 << stored:
        notes.append("the bits are said to lie on the left, but lie on the right")
        shift = 0
    if survey.combined & ((1 << shift) - 1):
        raise RejectedScan("unsupported_pixels", "HighBit and BitsStored leave out bits that the values use")
    above = survey.combined >> (shift + stored)
    if above and shift == 0 and stored < width:
        _check_unused(survey.of_first(), stored)
    return Depth(stored, shift)


def _check_unused(values: np.ndarray, stored: int) -> None:
    """Refuse a picture whose bits above the stored ones belong to it: without them its values wrap around.

    An overlay jumps where its bits change, and the picture below goes on; of a picture that wraps it is the reverse.
    """
    top = values >> np.array(stored - 1, values.dtype)
    if np.isin(top, (0, (1 << (8 * values.dtype.itemsize - stored + 1)) - 1)).all():
        return  # Signs, carried on to the left.
    steps, kept, above = (
        np.diff(part.astype(np.int64), axis=1)
        for part in (
            values,
            values & np.array((1 << stored) - 1, values.dtype),
            values >> np.array(stored, values.dtype),
        )
    )
    changes = above != 0
    wraps = changes.mean() > _GRAPHICS or (
        changes.any() and np.median(np.abs(kept[changes])) > np.median(np.abs(steps[changes]))
    )
    if stored < 8 or wraps:
        raise RejectedScan("unsupported_pixels", "BitsStored is smaller than what the values use")


def _is_inverted(claims: Claims, header: Dataset, survey: Survey, depth: Depth, notes: list[str]) -> bool:
    if claims.photometric == "MONOCHROME1":
        return True
    if claims.photometric == "MONOCHROME2" and (text_of(header, "PresentationLUTShape") or "").upper() == "INVERSE":
        notes.append("shown inverted, as the Presentation LUT Shape says")
        return True
    if claims.photometric in ("MONOCHROME2", PALETTE):
        return False
    # One sample, and a colour or nothing announced: a screen is mostly dark.
    values = _cut_out(survey.of_first(), depth)
    if float(np.median(values)) > (survey.combined >> depth.shift) / 2:
        raise RejectedScan("unsupported_pixels", "PhotometricInterpretation is missing or wrong for one sample")
    notes.append("the header names no grey scale; the lowest value is taken for black")
    return False


def _cut_out(values: np.ndarray, depth: Depth) -> np.ndarray:
    """The significant bits alone; what lies above them are overlays."""
    if depth.shift == 0 and depth.bits == 8 * values.dtype.itemsize:
        return values
    return (values >> np.array(depth.shift, values.dtype)) & np.array((1 << depth.bits) - 1, values.dtype)


def _with_sign(values: np.ndarray, bits: int) -> np.ndarray:
    signed = values.astype(np.int32)
    return np.where(signed >= 1 << (bits - 1), signed - (1 << bits), signed).astype(np.int16)


def _window_range(header: Dataset, depth: Depth) -> tuple[float, float]:
    """The output range of pydicom's `apply_windowing`: that of the stored type, rescaled."""
    bits = int(header.BitsStored)
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if depth.signed else (0, (1 << bits) - 1)
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    low, high = sorted(end * slope + intercept for end in ends)
    if not high > low:
        raise RejectedScan("damaged", "a rescale slope of zero")
    return low, high


def _through_palette(values: np.ndarray, header: Dataset) -> np.ndarray:
    coloured = apply_color_lut(values, header)
    if coloured.dtype.itemsize == 1:
        return coloured
    # 16-bit tables usually hold the colour in the high byte; some writers leave 8-bit colours in the low one.
    tables = [header.get(f"{name}PaletteColorLookupTableData") for name in ("Red", "Green", "Blue")]
    brightest = max((int(np.frombuffer(table, coloured.dtype).max()) for table in tables if table), default=0xFFFF)
    return to_eight_bits(coloured, 8 if brightest <= 0xFF else 16)
