"""How the samples of a DICOM picture lie: claimed by its header, decided with what the data themselves show.

Every decision against the header is a sentence in `notes`. What the data leave open is refused, with the attribute that
is missing or wrong: a wrong picture is worse than none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pydicom.pixels import convert_color_space
from pydicom.pixels.utils import expand_ybr422

from fusc_pipeline.scans import evidence
from fusc_pipeline.scans.claims import COLOUR, GREY, PALETTE, Claims
from fusc_pipeline.scans.frames import RejectedScan


@dataclass(frozen=True)
class Layout:
    """Frames that lie behind each other in uncompressed pixel data.

    samples: 1 or 3; allocated: bits of a sample, 8 or 16; in_pairs: 4:2:2; colours: "RGB", "YBR" or None for one
    sample; frame_bytes: of one frame; gap: bytes between two frames.
    """

    size: tuple[int, int]
    samples: int
    allocated: int
    frames: int
    in_pairs: bool = False
    planar: bool = False
    colours: str | None = None
    gap: int = 0
    big_endian: bool = False

    @property
    def frame_bytes(self) -> int:
        rows, columns = self.size
        if self.in_pairs:
            return rows * (columns + columns % 2) * 2
        return rows * columns * self.samples * self.allocated // 8

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.allocated == 8 else ">u2" if self.big_endian else "<u2")

    def offset(self, index: int) -> int:
        """Where a frame begins, in bytes from the first one."""
        return index * (self.frame_bytes + self.gap)

    def picture(self, data: bytes) -> np.ndarray:
        """A frame's bytes as stored values (H, W) or (H, W, 3), native byte order; 4:2:2 made full, YBR not undone."""
        rows, columns = self.size
        if self.in_pairs:
            full = np.frombuffer(expand_ybr422(data, 8), np.uint8).reshape(rows, columns + columns % 2, 3)
            return np.ascontiguousarray(full[:, :columns])
        values = np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="), copy=False)
        if self.samples == 1:
            return values.reshape(self.size)
        if self.planar:
            return np.ascontiguousarray(np.moveaxis(values.reshape(3, *self.size), 0, -1))
        return values.reshape(*self.size, 3)


def native_layout(
    claims: Claims, length: int, read: Callable[[int, int], bytes], big_endian: bool, notes: list[str]
) -> Layout:
    """Where the frames lie in `length` bytes of uncompressed pixel data; read(offset, size) gives some of them.

    Adds to `notes`. Raises RejectedScan `truncated` for less than one picture, or than the frames that are claimed, and
    `unsupported_pixels` with the attribute that is missing or contradicts the data.
    """
    claimed = max(1, claims.frames or 1)
    layout = _picture_layout(claims, length, claimed, big_endian, notes)
    if layout.samples == 3 and claims.photometric == "YBR_FULL_422" and layout.allocated == 8:
        layout = _in_pairs(layout, length, claimed, read, notes)
    needed = layout.frame_bytes * claimed
    if length < needed:
        raise RejectedScan("truncated", f"{length} of {needed} bytes of pixel data")
    if layout.samples == 3 and not layout.in_pairs:
        layout = _order_of_samples(claims, layout, read, notes)
    layout = _count_frames(claims, layout, length, read, notes)
    _check_reading(claims, layout, length, read)
    if layout.samples == 3:
        shown = layout.picture(read(0, layout.frame_bytes))
        layout = replace(layout, colours=decide_colours(claims, shown, notes))
    return layout


def decide_colours(claims: Claims, samples: np.ndarray, notes: list[str]) -> str:
    """What (H, W, 3) stored values are. Raises RejectedScan where neither header nor values tell."""
    found = evidence.stored_colours(samples, claims.colours)
    if found is None:
        raise RejectedScan("unsupported_pixels", "PhotometricInterpretation is missing or wrong for three samples")
    if found != claims.colours:
        said = claims.photometric if claims.photometric in COLOUR | GREY | {PALETTE} else "nothing"
        notes.append(f"the header said {said} of the colours, the pixels are {found}")
    return found


def as_rgb(values: np.ndarray, colours: str | None) -> np.ndarray:
    """(H, W, 3) stored values as RGB; anything else as it is. YBR is of 8 bits; else RejectedScan."""
    if values.ndim == 2 or colours == "RGB":
        return values
    if values.dtype.itemsize > 1:
        raise RejectedScan("unsupported_pixels", "brightness and colour differences of more than 8 bits")
    return convert_color_space(values, "YBR_FULL", "RGB")


def _picture_layout(claims: Claims, length: int, claimed: int, big_endian: bool, notes: list[str]) -> Layout:
    """Samples and width of one picture, by the header where it agrees with itself, else by the length."""
    area = claims.rows * claims.columns
    by_photometric = 3 if claims.photometric in COLOUR else 1 if claims.photometric else None
    possible = {number for number in (claims.samples, by_photometric) if number} or {1, 3}
    widths = {claims.allocated} if claims.allocated else {8, 16}
    if claims.allocated is None and claims.stored:
        widths = {8 if claims.stored <= 8 else 16}
    if claims.stored and claims.stored > max(widths):
        raise RejectedScan("unsupported_pixels", "BitsStored is larger than BitsAllocated")
    fitting = [
        (samples, width)
        for samples in sorted(possible)
        for width in sorted(widths)
        if _is_whole(length, area * samples * width // 8 * claimed)
    ]
    if len(possible) * len(widths) > 1:
        if len(fitting) != 1:
            name = "SamplesPerPixel" if len(possible) > 1 else "BitsAllocated"
            raise RejectedScan("unsupported_pixels", f"{name} is missing or wrong, and the data do not tell it")
        notes.append(f"{fitting[0][0]} samples of {fitting[0][1]} bits, as the length of the pixel data tells")
    samples, width = fitting[0] if len(possible) * len(widths) > 1 else (possible.pop(), widths.pop())
    return Layout(claims.size, samples, width, claimed, big_endian=big_endian)


def _is_whole(length: int, expected: int) -> bool:
    return length in (expected, expected + expected % 2)


def _in_pairs(layout: Layout, length: int, claimed: int, read: Callable[[int, int], bytes], notes: list[str]) -> Layout:
    """4:2:2 only where the bytes are: tools that decompress leave the name behind."""
    pairs = replace(layout, in_pairs=True)
    if _is_whole(length, pairs.frame_bytes * claimed):
        return pairs
    whole = _is_whole(length, layout.frame_bytes * claimed) and length % pairs.frame_bytes > 1
    if not whole and (length < pairs.frame_bytes or evidence.is_in_pairs(read(0, pairs.frame_bytes))):
        return pairs
    notes.append("the header said 4:2:2, the data hold three samples a pixel")
    return layout


def _order_of_samples(claims: Claims, layout: Layout, read: Callable[[int, int], bytes], notes: list[str]) -> Layout:
    told = None if claims.planar not in (0, 1) else bool(claims.planar)
    planar = evidence.is_planar(read(0, layout.frame_bytes), layout.size, layout.dtype, told)
    if planar is None:
        raise RejectedScan("unsupported_pixels", "PlanarConfiguration is missing, and the pixels do not tell it")
    if planar is not told:
        notes.append(f"the samples lie plane by plane: {'yes' if planar else 'no'}, as the pixels tell")
    return replace(layout, planar=planar)


def _count_frames(
    claims: Claims, layout: Layout, length: int, read: Callable[[int, int], bytes], notes: list[str]
) -> Layout:
    """All whole frames of the data, whatever NumberOfFrames says."""
    size, said, claimed = layout.frame_bytes, claims.frames, max(1, claims.frames or 1)
    layout = replace(layout, frames=length // size)
    # Each frame of an odd number of bytes may have been padded on its own.
    padded = length // (size + 1)
    if size % 2 and padded > 1 and length == padded * (size + 1) and said in (None, 0, 1, padded):
        layout = replace(layout, frames=padded, gap=1)
        notes.append("each frame is followed by a byte of padding")
    over = length - layout.offset(layout.frames - 1) - size - layout.gap
    _check_rest(layout, over, read)
    if layout.frames != claimed or said == 0:
        notes.append(count_note(said, layout.frames))
    if over > 1:
        notes.append(f"{over} bytes more than the frames were left out")
    return layout


def _check_rest(layout: Layout, over: int, read: Callable[[int, int], bytes]) -> None:
    """Refuse bytes beyond the frames that are no padding: then the size of a frame, or the length, is wrong.

    Padding is less than a row, or of one value. Rows that every frame of a clip lacks are not taken for it.
    """
    row = layout.frame_bytes // layout.size[0]
    rest = read(layout.offset(layout.frames - 1) + layout.frame_bytes + layout.gap, over) if over >= row else b""
    if rest.strip(rest[:1]) or (
        rest and layout.frames > 1 and over // (row * layout.frames) * row * layout.frames == over
    ):
        raise RejectedScan("damaged", f"{over} bytes of pixel data more than {layout.frames} frames, and no padding")


def count_note(said: int | None, found: int) -> str:
    """What NumberOfFrames said, against what the data hold."""
    return f"the count said {'nothing' if said is None else said}, {found} frame{'s' * (found != 1)} found"


def _shown(layout: Layout, read: Callable[[int, int], bytes], index: int) -> np.ndarray:
    return layout.picture(read(layout.offset(index), layout.frame_bytes))


def _check_reading(claims: Claims, layout: Layout, length: int, read: Callable[[int, int], bytes]) -> None:
    """Refuse bytes that another reading explains better: a wrong width, depth or number of samples makes them rough.

    A colour picture whose header says grey, or one of 16 bits said to have 8, is not a clip; nor are other bytes within
    an element whose length is too long.
    """
    claimed = max(1, claims.frames or 1)
    rows, columns = layout.size
    others: list[tuple[str, Layout]] = []
    disagree = claims.samples is None or claims.samples != (3 if claims.photometric in COLOUR else 1)
    if (layout.frames > claimed or disagree) and layout.samples == 1 and layout.frames % 3 == 0:
        others += [("SamplesPerPixel", replace(layout, samples=3, planar=planar)) for planar in (False, True)]
    pairs = replace(layout, samples=3, planar=False, in_pairs=True)
    as_pairs = layout.samples == 3 and claims.colours == "YBR" and length % pairs.frame_bytes <= 1
    if layout.allocated == 8 and not layout.in_pairs and (as_pairs or disagree or layout.frames > claimed):
        others.append(("PhotometricInterpretation", pairs))
    if layout.in_pairs and layout.frames > claimed:
        others.append(("Columns", replace(layout, size=(rows, 2 * (columns + columns % 2)))))
    if disagree and layout.samples == 3 and not layout.in_pairs:
        others.append(("SamplesPerPixel", replace(layout, samples=1, planar=False)))
    if layout.frames > claimed and layout.allocated == 8 and layout.frames % 2 == 0 and not layout.in_pairs:
        others.append(("BitsAllocated", replace(layout, allocated=16)))
    if layout.allocated == 16 and claims.stored is not None and claims.stored <= 8:
        others.append(("BitsAllocated", replace(layout, allocated=8)))
    width, rest = divmod(length, layout.frame_bytes // columns * claimed)
    if not layout.in_pairs and width > columns and rest <= 1:
        others += [("Columns", replace(layout, size=(rows, width), planar=planar)) for planar in {layout.planar, False}]
    if layout.frames > claimed and layout.frames % 2 == 0 and not layout.in_pairs:
        others.append(("Rows", replace(layout, size=(2 * rows, columns))))
    if not (others or disagree or layout.frames > claimed):
        return
    own = _shown(layout, read, 0)
    if disagree and not evidence.is_plausible(own):
        raise RejectedScan("unsupported_pixels", "SamplesPerPixel contradicts the pixel data")
    for name, other in others:
        if length < other.frame_bytes:
            continue
        shown = _shown(other, read, 0)
        if evidence.roughness(own) > 1.2 * evidence.roughness(shown) or _is_greyer(shown, own):
            raise RejectedScan("unsupported_pixels", f"{name} contradicts the pixel data")
    if layout.frames > claimed:
        usual = 2 * evidence.roughness(own)
        if any(evidence.roughness(_shown(layout, read, index)) > usual for index in range(claimed, layout.frames)):
            raise RejectedScan("damaged", "more pixel data than NumberOfFrames says, which is no picture")
        few = [_shown(layout, read, index) for index in range(min(layout.frames, claimed + 2))]
        if any(map(_goes_on, few, few[1:])):
            raise RejectedScan("unsupported_pixels", "Rows contradicts the pixel data")


def _is_greyer(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether far more of one picture of three samples is grey than of the other."""
    if one.ndim == 2 or other.ndim == 2:
        return False
    return max(evidence.grey_shares(one)) > max(evidence.grey_shares(other)) + 0.3


def _goes_on(upper: np.ndarray, lower: np.ndarray) -> bool:
    """Whether one frame is the other one's lower part: its first row follows on from a last row that is not empty."""
    last, first = upper[-1].astype(np.float32), lower[0].astype(np.float32)
    usual = float(np.abs(np.diff(upper.astype(np.float32), axis=0)).mean())
    spread = float(last.reshape(len(last), -1).std(axis=0).mean())
    return spread > 2 * usual and float(np.abs(last - first).mean()) < 0.5 * spread
