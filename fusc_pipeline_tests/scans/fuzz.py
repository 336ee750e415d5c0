"""Files that are broken on purpose, reproducibly: seeds of every format, and what is done to them. No assertions here.

Seeds are written by the package's own writers and, where installed, taken from pydicom-data. File `number` of a seed of
randomness is always the same file, whatever others are made.
"""

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fusc_pipeline_tests.scans.make import add_region, as_rgb, dataset, jpeg_dataset, save, sector

Mutation = Callable[[bytes, np.random.Generator], bytes]
REAL = (
    "US1_J2KI.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "OBXXXX1A_rle.dcm", "color-pl.dcm", "gdcm-US-ALOKA-16_big.dcm",
    "examples_ybr_color.dcm", "ExplVR_BigEnd.dcm", "SC_rgb_jls_lossy_line.dcm", "JPEG-LL.dcm", "SC_rgb_rle_16bit.dcm",
)  # fmt: skip
SYNTAXES = [
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless,
]  # fmt: skip


@cache
def seeds() -> dict[str, bytes]:
    """Sound files of every format, by a name that tells which."""
    grey, _ = sector(200, 260, r0=25, r1=180)
    colour = as_rgb(grey)
    found: dict[str, bytes] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"

        def keep(name: str) -> None:
            found[name] = path.read_bytes()

        for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian):
            ds = dataset(colour)
            add_region(ds, (20, 5, 240, 190))
            save(path, ds, syntax)
            keep(f"dicom {syntax.name}")
        save(path, dataset(np.stack([grey, grey[::-1]] * 10), frames=20))
        keep("dicom clip")
        save(path, dataset(grey.astype(np.uint16) * 16, bits=12))
        keep("dicom deep")
        ds = dataset(grey, photometric="PALETTE COLOR")
        for name in ("Red", "Green", "Blue"):
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(ds, f"{name}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())
        save(path, ds)
        keep("dicom palette")
        save(path, dataset(grey), DeflatedExplicitVRLittleEndian)
        keep("dicom deflated")
        save(path, jpeg_dataset([colour] * 3), JPEGBaseline8Bit)
        keep("dicom jpeg")
        for syntax, encode in (
            (JPEGLosslessSV1, lambda pixels: imagecodecs.jpeg8_encode(pixels, lossless=True)),
            (JPEGLSLossless, imagecodecs.jpegls_encode),
            (JPEG2000Lossless, lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True)),
            (HTJ2KLossless, imagecodecs.htj2k_encode),
            (RLELossless, _run_lengths),
        ):
            ds = dataset(colour)
            ds.PixelData = encapsulate([encode(colour)])
            ds["PixelData"].is_undefined_length = True
            save(path, ds, syntax)
            keep(f"dicom {syntax.name}")
    for kind, picture, options in (
        ("PNG", grey, {}),
        ("PNG", colour, {}),
        ("PNG", grey.astype(np.uint16) * 16, {}),
        ("JPEG", colour, {"progressive": True}),
        ("JPEG", grey, {}),
        ("TIFF", colour, {"compression": "tiff_lzw"}),
        ("TIFF", grey, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", grey, {"save_all": True, "append_images": [Image.fromarray(grey[::-1])] * 4}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, kind, **options)
        found[f"{kind} {len(found)}"] = buffer.getvalue()
    return found | _real()


def _real() -> dict[str, bytes]:
    roots = [Path(importlib.util.find_spec("pydicom").origin).parent / "data"]
    if spec := importlib.util.find_spec("data_store"):
        roots.append(Path(spec.origin).parent / "data")
    return {path.name: path.read_bytes() for root in roots for path in sorted(root.rglob("*.dcm")) if path.name in REAL}


def _run_lengths(pixels: np.ndarray) -> bytes:
    """RLE of RGB as literal runs, which any decoder takes."""
    segments = []
    for plane in np.moveaxis(pixels, -1, 0):
        raw = plane.tobytes()
        pieces = [raw[i : i + 128] for i in range(0, len(raw), 128)]
        coded = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
        segments.append(coded + bytes(len(coded) % 2))
    offsets = np.cumsum([64, *map(len, segments)])[:-1]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut short anywhere, or within the header."""
    return data[: rng.integers(0, len(data) if rng.random() < 0.6 else min(len(data), 1200))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """A few bits turned over, half of the time in the header, where they do most."""
    changed = np.frombuffer(data, np.uint8).copy()
    end = len(changed) if rng.random() < 0.5 else min(len(changed), 1500)
    where = rng.integers(0, end, rng.integers(1, 40))
    changed[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    return changed.tobytes()


def spliced(data: bytes, rng: np.random.Generator) -> bytes:
    """A stretch removed, doubled, blanked, or taken from another file."""
    start = int(rng.integers(0, len(data)))
    stop = min(len(data), start + int(rng.integers(1, 4000)))
    other = list(seeds().values())[rng.integers(len(seeds()))]
    middle = (b"", data[start:stop] * 2, bytes(stop - start), b"\xff" * (stop - start), other[start:stop], other)
    return data[:start] + middle[rng.integers(len(middle))] + data[stop:]


def wrong_length(data: bytes, rng: np.random.Generator) -> bytes:
    """A length field changed: of a DICOM element, a PNG chunk, a JPEG segment, a TIFF entry."""
    marks = (
        b"US\x02\x00", b"UI", b"SQ\x00\x00", b"OB\x00\x00", b"OW\x00\x00", b"LO", b"IS", b"\xfe\xff\x00\xe0",
        b"\xff\xda", b"\xff\xc0", b"\xff\xc4", b"\xff\x52", b"\xff\x90", b"IHDR", b"IDAT", b"\x00\x01\x03\x00",
    )  # fmt: skip
    places = [place for mark in marks if (place := data.find(mark)) >= 0]
    if not places:
        return flipped(data, rng)
    at = places[rng.integers(len(places))] + int(rng.integers(-4, 9))
    values = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, int(rng.integers(1 << 32)))
    size = (1, 2, 4)[rng.integers(3)]
    value = values[rng.integers(len(values))] & ((1 << 8 * size) - 1)
    at = max(at, 0)
    return data[:at] + value.to_bytes(size, ("little", "big")[rng.integers(2)]) + data[at + size :]


def absurd_claim(data: bytes, rng: np.random.Generator) -> bytes:
    """Rows, columns, samples, bits or frames that cannot be; or another transfer syntax than the pixels have."""
    if data[128:132] != b"DICM" or rng.random() < 0.2:
        return _absurd_picture(data, rng)
    if rng.random() < 0.3:
        return _other_syntax(data, rng)
    elements = (2, 4, 6, 8, 16, 17, 256, 257, 258, 259)
    number = elements[rng.integers(len(elements))]
    little = struct.pack("<HH", 0x28, number)
    big = struct.pack(">HH", 0x28, number)
    at = max(data.find(little), data.find(big))
    if at < 0:
        return flipped(data, rng)
    value = int(rng.choice([0, 1, 2, 7, 9, 24, 32, 64, 255, 4096, 32767, 65535]))
    return data[: at + 8] + struct.pack("<H", value) + data[at + 10 :]


def _absurd_picture(data: bytes, rng: np.random.Generator) -> bytes:
    """Dimensions of the codestream changed, or its kind of frame."""
    skips = {b"IHDR": 4, b"\xff\xc0": 5, b"\xff\xc3": 5, b"\xff\xf7": 5, b"\xff\x51": 6}
    mark = next((mark for mark in skips if mark in data), None)
    if mark is None:
        return wrong_length(data, rng)
    at, skip = data.find(mark), skips[mark]
    if mark[0] == 0xFF and mark[1] >= 0xC0 and rng.random() < 0.5:
        return data[: at + 1] + bytes([int(rng.integers(0xC0, 0xD0))]) + data[at + 2 :]
    claim = rng.integers(0, 256, 4 if mark[1] >= 0xC0 else 8, dtype=np.uint8).tobytes()
    changed = data[: at + skip] + claim + data[at + skip + len(claim) :]
    if mark == b"IHDR":
        crc = zlib.crc32(changed[at : at + 17])
        changed = changed[: at + 17] + struct.pack(">I", crc) + changed[at + 21 :]
    return changed


def _other_syntax(data: bytes, rng: np.random.Generator) -> bytes:
    """The transfer syntax exchanged for another of the same length in bytes, padded or cut."""
    at = data.find(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    name = str(SYNTAXES[rng.integers(len(SYNTAXES))]).encode()[:length]
    return data[: at + 8] + name + bytes(length - len(name)) + data[at + 8 + length :]


def nested(data: bytes, rng: np.random.Generator) -> bytes:
    """Sequences in sequences, some of defined length, some never closed, up to twenty thousand deep."""
    depth = int(rng.choice([10, 300, 1100, 5000, 20_000]))
    tag = ((0x18, 0x6011), (0x08, 0x1115), (0x09, 0x1010))[rng.integers(3)]
    opening = struct.pack("<HH2sHI", *tag, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    inside = opening * depth + (closing * depth if rng.random() < 0.5 else b"")
    base = seeds()["dicom Explicit VR Little Endian"]
    at = base.find(struct.pack("<HH", 0x28, 2))
    return base[:at] + inside + base[at:]


def deflate_bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """A deflated data set of which half a megabyte becomes half a gigabyte."""
    base = seeds()["dicom deflated"]
    start = 132 + 12 + int.from_bytes(base[140:144], "little")
    plain = zlib.decompress(base[start:], -zlib.MAX_WBITS)
    head, megabyte, end = (zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS) for _ in range(3))
    # A block that ends in a full flush can be repeated without compressing it again.
    block = megabyte.compress(bytes(1 << 20)) + megabyte.flush(zlib.Z_FULL_FLUSH)
    body = head.compress(plain[: -260 * 200]) + head.flush(zlib.Z_FULL_FLUSH)
    return base[:start] + body + block * int(rng.choice([20, 300, 600])) + end.flush()


def run_length_bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """Run-length code that expands far over its picture, or headers of segments that point anywhere."""
    segment = bytes([129, int(rng.integers(256))]) * int(rng.choice([1000, 200_000, 3_000_000]))
    offsets = [64, *(int(x) for x in rng.integers(0, 1 << 32, 14))] if rng.random() < 0.5 else [64] + [0] * 14
    frame = struct.pack("<16I", int(rng.choice([0, 1, 3, 15, 400])), *offsets) + segment
    base = seeds()["dicom RLE Lossless"]
    at = base.find(b"\xe0\x7f\x10\x00")
    return base[: at + 12] + encapsulate([frame]) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def png_bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """Compressed text, a compressed colour profile or pixels that become very large."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    zeros = _zeros(int(rng.choice([1 << 20, 1 << 26, 1 << 28])))
    side = int(rng.choice([100, 4000, 13_000, 16_000, 40_000]))
    extra = (
        chunk(b"zTXt", b"Comment\0\0" + zeros),
        chunk(b"iCCP", b"profile\0\0" + zeros),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros),
        chunk(b"eXIf", zeros),
        b"",
    )[rng.integers(5)]
    depth, colour = ((8, 0), (8, 2), (16, 6), (1, 0), (8, 3), (16, 0))[rng.integers(6)]
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, int(rng.integers(2)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")


@cache
def _zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 6)


def tiff_bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """A TIFF of few bytes that claims many: pixels, strips, or pages in a ring."""
    side = int(rng.choice([64, 4000, 16_000, 60_000]))
    strips = int(rng.choice([1, 1000, 1 << 28]))
    tags = {
        256: side, 257: side, 258: int(rng.choice([1, 8, 16, 32])), 259: int(rng.choice([1, 5, 7, 8, 32773, 50000])),
        262: int(rng.integers(0, 7)), 273: 200, 277: int(rng.choice([1, 3, 4, 200])),
        278: int(rng.choice([1, side])), 279: int(rng.choice([10, 1 << 31])),
    }  # fmt: skip
    entries = b"".join(
        struct.pack("<HHII", tag, 4, strips if tag in (273, 279) else 1, value) for tag, value in tags.items()
    )
    following = int(rng.choice([0, 8, 1 << 30]))
    body = zlib.compress(bytes(1 << 22)) if rng.random() < 0.5 else rng.bytes(500)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + bytes(64) + body


def joined(data: bytes, rng: np.random.Generator) -> bytes:
    """Two files in one: the second behind the first, or a DICOM file behind another's first bytes."""
    other = list(seeds().values())[rng.integers(len(seeds()))]
    if rng.random() < 0.5:
        return data + other
    return other[:128] + data[128:] if data[128:132] == b"DICM" else data[:128] + b"DICM" + data[128:]


# The mutations and how often each is drawn; bombs are large and slow to make.
MUTATIONS: dict[Mutation, float] = {
    truncated: 0.17, flipped: 0.22, spliced: 0.16, wrong_length: 0.17, absurd_claim: 0.15, joined: 0.03, nested: 0.03,
    run_length_bomb: 0.02, png_bomb: 0.02, tiff_bomb: 0.02, deflate_bomb: 0.01,
}  # fmt: skip


def mutant(seed: int, number: int) -> tuple[str, bytes]:
    """(what was done to what, the file); the first ones go through the mutations in turn, so that few show all."""
    rng = np.random.default_rng([seed, number])
    mutations = list(MUTATIONS)
    mutation = mutations[number] if number < len(mutations) else rng.choice(mutations, p=list(MUTATIONS.values()))
    names = list(seeds())
    name = names[rng.integers(len(names))]
    data = mutation(seeds()[name], rng)
    if rng.random() < 0.15:
        mutation_two = (truncated, flipped, spliced)[rng.integers(3)]
        return f"{mutation.__name__} + {mutation_two.__name__}, {name}", mutation_two(data or b"\0", rng)
    return f"{mutation.__name__}, {name}", data
