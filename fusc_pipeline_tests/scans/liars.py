"""DICOM files that lie: written byte by byte, so that every header field and length can be absent, wrong or odd.

A `Told` file says what its pictures really are. Nothing of the reader is used here: codecs and pydicom are the oracle.
"""

import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np
from hypothesis import strategies as st

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
RLE, JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K = (
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
)
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
CODED = (RLE, JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K)

CANARY = b"QZX^SECRET 1961-02-03 "
"""What surrounds the pixel data: no run of it may ever be seen in a picture."""

_LONG = {"OB", "OW", "SQ", "UN"}
_PLACES = {
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
}
_WRONG = {
    "SamplesPerPixel": (0, 1, 2, 3, 4, 65535),
    "PhotometricInterpretation": (
        "MONOCHROME1",
        "monochrome2",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "HSV",
        "",
        "YBR_RCT",
    ),
    "PlanarConfiguration": (0, 1, 7),
    "NumberOfFrames": ("0", "1", "2", "3", "5", "1000000", "-2", "two", "1\\2", ""),
    "Rows": (0, 1, 31, 62, 65535),
    "Columns": (0, 1, 37, 64, 65535),
    "BitsAllocated": (0, 1, 8, 12, 16, 32),
    "BitsStored": (0, 1, 7, 8, 10, 12, 14, 16, 17),
    "HighBit": (0, 6, 7, 11, 15, 40),
    "PixelRepresentation": (1, 9),
}
LENGTHS = ("right", "odd", "empty", "half", "short by one", "over the next", "beyond the file")
FRAGMENTS = ("right", "split", "joined", "empty first", "empty last", "long item", "short item")
TABLES = ("empty", "right", "zeros", "short", "shifted")
ENDS = ("right", "none", "zeros", "with length", "then bytes")


@dataclass(frozen=True)
class Told:
    """What a file is, and what it says of itself."""

    seed: int
    syntax: str
    announced: str | None
    frames: int
    colour: str
    bits: int
    planar: bool
    rows: int
    columns: int
    lies: tuple[tuple[str, int | str | None], ...] = ()
    length: str = "right"
    fragments: str = "right"
    table: str = "empty"
    end: str = "right"
    trailer: bytes = b""
    preamble: bool = True

    @property
    def changed(self) -> set[str]:
        return {name for name, _ in self.lies}


@st.composite
def files(draw: st.DrawFn) -> Told:
    """Half of them lie in one way, the others in two or three, or not at all."""
    syntax = draw(st.sampled_from(NATIVE * 2 + CODED))
    colour = draw(st.sampled_from(("grey", "grey", "negative", "rgb", "ybr", "pairs")))
    if syntax in CODED and colour == "pairs":
        colour = "ybr"
    if syntax == HTJ2K and colour == "ybr":
        colour = "rgb"
    deep = colour in ("grey", "negative") and syntax != JPEG
    lies = []
    for name in draw(st.lists(st.sampled_from(sorted(_PLACES)), max_size=2, unique=True)):
        lies.append((name, draw(st.sampled_from((None, *_WRONG[name])))))
    announced = syntax
    if draw(st.integers(0, 9)) == 0:
        announced = draw(st.sampled_from((None, IMPLICIT, EXPLICIT, BIG, JPEG, RLE, JPEG_2000)))
    return Told(
        draw(st.integers(0, 10**6)),
        syntax,
        announced,
        draw(st.sampled_from((1, 1, 2, 3, 4))),
        colour,
        draw(st.sampled_from((8, 8, 10, 12, 16))) if deep else 8,
        draw(st.booleans()),
        draw(st.sampled_from((62, 63, 64))),
        draw(st.sampled_from((74, 75, 80))),
        tuple(lies),
        draw(st.sampled_from(("right",) * 5 + LENGTHS)),
        draw(st.sampled_from(("right",) * 4 + FRAGMENTS)),
        draw(st.sampled_from(TABLES)),
        draw(st.sampled_from(("right",) * 3 + ENDS)),
        draw(st.sampled_from((b"", b"", b"\0" * 9, b"\xff" * 6, bytes(range(1, 40))))),
        draw(st.sampled_from((True,) * 7 + (False,))),
    )


def pictures(told: Told) -> list[np.ndarray]:
    """The screens, uint8 (H, W), or (H, W, 3) with coloured marks: a fan of smooth speckle on black."""
    import cv2

    found = []
    y, x = np.mgrid[: told.rows, : told.columns].astype(float)
    across, down = x - told.columns / 2, y + 0.03 * told.rows
    reach, angle = np.hypot(across, down), np.arctan2(across, down)
    fan = (np.abs(angle) < 0.62) & (reach > 0.12 * told.rows) & (reach < 0.95 * told.rows)
    for number in range(told.frames):
        rng = np.random.default_rng((told.seed, number))
        grain = cv2.GaussianBlur(rng.rayleigh(1, fan.shape), (0, 0), 1.4)
        grey = np.clip(95 + 60 * (grain - grain.mean()) / grain.std() + 20 * np.cos(reach / 6), 8, 250)
        picture = np.where(fan, grey, 0).astype(np.uint8)
        if told.colour in ("rgb", "ybr", "pairs"):
            picture = np.repeat(picture[..., None], 3, 2)
            picture[3:7, 4:16], picture[-9:-5, 5:13] = (236, 64, 32), (32, 64, 224)
        found.append(picture)
    return found


def stored(told: Told) -> list[np.ndarray]:
    """The samples as they lie in the file, unsigned."""
    found = []
    for picture in pictures(told):
        if told.colour in ("ybr", "pairs"):
            found.append(_ybr(picture))
        elif told.bits > 8:
            deep = picture.astype(np.uint16) << (told.bits - 8)
            found.append(((1 << told.bits) - 1 - deep).astype(np.uint16) if told.colour == "negative" else deep)
        else:
            found.append(255 - picture if told.colour == "negative" else picture)
    return found


def written(told: Told) -> bytes:
    """The file's bytes."""
    big, implicit = told.syntax == BIG, told.syntax == IMPLICIT
    values = {
        "SamplesPerPixel": 3 if told.colour in ("rgb", "ybr", "pairs") else 1,
        "PhotometricInterpretation": _PHOTOMETRIC[told.colour],
        "PlanarConfiguration": int(told.planar) if told.colour in ("rgb", "ybr") else None,
        "NumberOfFrames": str(told.frames) if told.frames > 1 else None,
        "Rows": told.rows,
        "Columns": told.columns,
        "BitsAllocated": 8 if told.bits == 8 else 16,
        "BitsStored": told.bits,
        "HighBit": told.bits - 1,
        "PixelRepresentation": 0,
    }
    if told.colour == "pairs" or (told.colour in ("rgb", "ybr") and told.syntax in CODED):
        values["PlanarConfiguration"] = 0
    values |= dict(told.lies)
    rows = [
        (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.6.1"),
        (0x00080060, "CS", "US"),
        (0x00100010, "PN", CANARY.decode()),
        (0x00290010, "LO", "QZX"),
        (0x00291001, "OB", CANARY * 400),
    ]
    rows += [(*_PLACES[name], value) for name, value in values.items() if value is not None]
    body = b"".join(_element(tag, vr, value, implicit, big) for tag, vr, value in sorted(rows, key=lambda row: row[0]))
    body += _pixel_element(told, implicit, big)
    body += _element(0x7FE10010, "LO", "QZX", implicit, big)
    body += _element(0x7FE11001, "OB", CANARY * 900, implicit, big)
    if told.syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    head = _element(0x00020001, "OB", b"\0\1", False, False)
    if told.announced is not None:
        head += _element(0x00020010, "UI", told.announced, False, False)
    head = _element(0x00020000, "UL", len(head), False, False) + head
    return (bytes(128) + b"DICM" if told.preamble else b"") + head + body


_PHOTOMETRIC = {
    "grey": "MONOCHROME2",
    "negative": "MONOCHROME1",
    "rgb": "RGB",
    "ybr": "YBR_FULL",
    "pairs": "YBR_FULL_422",
}


def _pixel_element(told: Told, implicit: bool, big: bool) -> bytes:
    if told.syntax in CODED:
        return _encapsulated(told)
    parts = []
    for samples in stored(told):
        if told.colour == "pairs":
            parts.append(_in_pairs(samples).tobytes())
        elif samples.ndim == 3 and told.planar:
            parts.append(np.moveaxis(samples, -1, 0).tobytes())
        else:
            parts.append(samples.astype((">u2" if big else "<u2") if told.bits > 8 else np.uint8).tobytes())
    data = b"".join(parts)
    data += b"\0" * (len(data) % 2)
    # Of a length that lies, the bytes of the value stay as they are, but for the shorter ones.
    lengths = {
        "right": len(data),
        "odd": len(data) + 1,
        "empty": 0,
        "half": len(data) // 2,
        "short by one": len(data) - 1,
        "over the next": len(data) + 4000,
        "beyond the file": len(data) + 10**7,
    }
    length = lengths[told.length]
    data = data[:length] if told.length in ("empty", "half", "short by one") else data
    vr = "OW" if told.bits > 8 or (big and told.seed % 2) else "OB"
    if vr == "OW" and told.bits == 8 and big:
        data += b"\0" * (len(data) % 2)
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    order = ">" if big else "<"
    head = struct.pack(order + "HH", 0x7FE0, 0x0010)
    return head + (b"" if implicit else vr.encode() + b"\0\0") + struct.pack(order + "I", length) + data


def _encapsulated(told: Told) -> bytes:
    streams = [code(told, samples) + told.trailer for samples in stored(told)]
    pieces: list[bytes] = []
    for number, stream in enumerate(streams):
        third = max(2, len(stream) // 3 // 2 * 2)
        if told.fragments == "split" and told.syntax != RLE:
            pieces += [stream[:third], stream[third : 2 * third], stream[2 * third :]]
        elif told.fragments == "joined" and number and told.syntax != RLE:
            pieces[-1] += b"\0" * (len(pieces[-1]) % 2) + stream
        else:
            pieces.append(stream)
    pieces = [piece + b"\0" * (len(piece) % 2) for piece in pieces]
    pieces = [b""] * (told.fragments == "empty first") + pieces + [b""] * (told.fragments == "empty last")
    places, here = [], 0
    for piece in pieces:
        places.append(here)
        here += 8 + len(piece)
    table = {
        "empty": [],
        "right": places,
        "zeros": [0] * len(places),
        "short": places[:1],
        "shifted": [place + 24 for place in places],
    }[told.table]
    items = [_item(struct.pack(f"<{len(table)}I", *table)), *(_item(piece) for piece in pieces)]
    if told.fragments in ("long item", "short item"):
        change = 6 if told.fragments == "long item" else -6
        where = 1 + told.seed % len(pieces)
        length = max(0, len(pieces[where - 1]) + change)
        items[where] = items[where][:4] + struct.pack("<I", length) + items[where][8:]
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    ends = {
        "right": end,
        "none": b"",
        "zeros": bytes(8),
        "with length": end[:4] + b"\xff" * 4,
        "then bytes": end + CANARY,
    }
    head = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    return head + b"".join(items) + ends[told.end]


def code(told: Told, samples: np.ndarray) -> bytes:
    """One frame's codestream, by a library that only encodes here."""
    if told.syntax == RLE:
        return _run_lengths(samples)
    if told.syntax == JPEG:
        colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if samples.ndim == 3 else {}
        return _bare(bytes(imagecodecs.jpeg8_encode(samples, level=97, **colours)))
    if told.syntax == JPEG_LOSSLESS:
        colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if samples.ndim == 3 else {}
        return _bare(bytes(imagecodecs.jpeg8_encode(samples, lossless=True, bitspersample=told.bits, **colours)))
    if told.syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(samples))
    if told.syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(samples))
    # Its own component transform for RGB alone: YBR is one already.
    return bytes(imagecodecs.jpeg2k_encode(samples, codecformat="j2k", reversible=True, mct=told.colour == "rgb"))


def _bare(stream: bytes) -> bytes:
    """Without JFIF or Adobe marker, and without components named R, G and B: only the header tells the colours."""
    here = 2
    while stream[here + 1] in (0xE0, 0xEE):
        here += 2 + int.from_bytes(stream[here + 2 : here + 4], "big")
    bare = bytearray(stream[:2] + stream[here:])
    here = 2
    while bare[here + 1] != 0xDA:
        if bare[here + 1] in (0xC0, 0xC1, 0xC3):
            for number in range(bare[here + 9]):
                bare[here + 10 + 3 * number] = number + 1
        here += 2 + int.from_bytes(bare[here + 2 : here + 4], "big")
    for number in range(bare[here + 4]):
        bare[here + 5 + 2 * number] = number + 1
    return bytes(bare)


def _ybr(picture: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2, rounded."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(picture @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def _in_pairs(samples: np.ndarray) -> np.ndarray:
    wide = np.concatenate([samples, samples[:, -1:]], 1) if samples.shape[1] % 2 else samples
    pairs = np.empty((wide.shape[0], wide.shape[1] // 2, 4), np.uint8)
    pairs[..., 0], pairs[..., 1] = wide[:, 0::2, 0], wide[:, 1::2, 0]
    pairs[..., 2], pairs[..., 3] = wide[:, 0::2, 1], wide[:, 0::2, 2]
    return pairs


def _run_lengths(samples: np.ndarray) -> bytes:
    planes = np.moveaxis(samples.reshape(*samples.shape[:2], -1), -1, 0)
    segments = []
    for plane in planes:
        width = plane.dtype.itemsize
        for byte in range(width - 1, -1, -1):
            segments.append(_literals((plane >> (8 * byte)).astype(np.uint8).tobytes()))
    places, here = [], 64
    for segment in segments:
        places.append(here)
        here += len(segment)
    return struct.pack("<16I", len(segments), *places, *([0] * (15 - len(places)))) + b"".join(segments)


def _literals(data: bytes) -> bytes:
    code = b"".join(bytes([len(data[at : at + 128]) - 1]) + data[at : at + 128] for at in range(0, len(data), 128))
    return code + b"\x80" * (len(code) % 2)


def _item(data: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


def _element(tag: int, vr: str, value: int | str | bytes, implicit: bool, big: bool) -> bytes:
    order = ">" if big else "<"
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    elif isinstance(value, int):
        value = struct.pack(order + {"US": "H", "UL": "I"}[vr], value)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if implicit:
        return head + struct.pack(order + "I", len(value)) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value
