"""Kinds of odd picture files, each in several variants: what is taken of them, and how that is told."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from fusc_pipeline.scans.frames import ReadLimits, RejectedScan
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline_tests.scans.make import as_rgb, sector

GREY, _ = sector(97, 129, r0=10, r1=80)
RGB = as_rgb(GREY)
CLIP = [np.roll(GREY, 3 * n, 1) for n in range(4)]
STORED = {  # EXIF orientation -> the stored picture of one that is shown as it is
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def frames_of(tmp_path, data, limits=None):
    (tmp_path / "a").write_bytes(data)
    return list(read_scan(tmp_path / "a", limits))


def refusal(tmp_path, data):
    with pytest.raises(RejectedScan) as caught:
        frames_of(tmp_path, data)
    return caught.value


def tiff(pages, *, order="<", photometric=1, description=b"", behind=b""):
    """An uncompressed TIFF, byte by byte: 8 or 16 bits, grey or RGB; `behind` follows the last picture."""
    mark = b"II" if order == "<" else b"MM"
    out = bytearray(mark + struct.pack(order + "HI", 42, 8))
    for number, page in enumerate(pages):
        bits, samples = 8 * page.dtype.itemsize, 3 if page.ndim == 3 else 1
        data = page.astype(page.dtype.newbyteorder(order)).tobytes()
        tags = [
            (256, 4, page.shape[1]),
            (257, 4, page.shape[0]),
            (259, 3, 1),
            (262, 3, 2 if samples == 3 else photometric),
        ]
        tags += [(277, 3, samples), (278, 4, page.shape[0]), (279, 4, len(data))]
        count = len(tags) + 2 + bool(description)
        after = len(out) + 2 + 12 * count + 4
        extra = struct.pack(order + "3H", bits, bits, bits)
        tags += [(258, 3, None), (273, 4, after + len(extra) + len(description) + len(description) % 2)]
        tags += [(270, 2, None)] if description else []
        out += struct.pack(order + "H", count)
        for tag, kind, value in sorted(tags):
            if tag == 258:
                place = struct.pack(order + "I", after) if samples == 3 else struct.pack(order + "HH", bits, 0)
                out += struct.pack(order + "HHI", tag, kind, samples) + place
            elif tag == 270:
                out += struct.pack(order + "HHII", tag, kind, len(description), after + len(extra))
            else:
                size = "I" if kind == 4 else "HH"
                out += struct.pack(order + "HHI" + size, tag, kind, 1, *([value] if kind == 4 else [value, 0]))
        end = after + len(extra) + len(description) + len(description) % 2 + len(data)
        out += struct.pack(order + "I", 0 if number == len(pages) - 1 else end + end % 2)
        out += extra + description + b"\0" * (len(description) % 2) + data
        out += b"\0" * (end % 2 if number < len(pages) - 1 else 0)
    return bytes(out + behind)


def described(frames):
    return f"ImageJ=1.53t\nimages={frames}\nslices={frames}\nloop=false\n\0".encode()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
def test_shown_as_its_orientation_says(tmp_path, kind, pixels, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    how = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    ways = [{}, {"compression": "tiff_lzw"}] if kind == "TIFF" else [{"quality": 95}] if kind == "JPEG" else [{}]
    for way in ways:
        (frame,) = frames_of(tmp_path, saved(stored, kind, **how, **way))
        assert frame.pixels.shape == pixels.shape
        assert np.abs(frame.pixels.astype(int) - pixels).mean() < (4 if kind == "JPEG" else 0.001)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("clip", [CLIP, [as_rgb(p) for p in CLIP], [p.astype(np.uint16) * 257 for p in CLIP]])
def test_a_stack_of_imagej(tmp_path, order, clip):
    shown = [p if p.dtype == np.uint8 else (p >> 8).astype(np.uint8) for p in clip]
    behind = b"".join(p.astype(p.dtype.newbyteorder(order)).tobytes() for p in clip[1:])
    data = tiff(clip[:1], order=order, description=described(4), behind=behind + b"QZX" * 40)
    found = frames_of(tmp_path, data)
    assert [np.array_equal(f.pixels, p) for f, p in zip(found, shown, strict=True)] == [True] * 4
    assert found[0].notes == ("4 pictures in one file",)
    few = frames_of(tmp_path, data, ReadLimits(frames_per_clip=2))
    assert [(f.frame_index, f.n_frames) for f in few] == [(0, 4), (3, 4)]


def test_a_stack_that_claims_more_than_it_holds(tmp_path):
    size = GREY.nbytes
    whole = tiff([GREY], description=described(3), behind=CLIP[1].tobytes() + CLIP[2].tobytes())
    assert refusal(tmp_path, whole[:-1]).reason == "truncated"
    words = (b"QZX^SECRET 1961-02-03 " * size)[: 2 * size]
    assert refusal(tmp_path, tiff([GREY], description=described(3), behind=words)).reason == "damaged"
    # The description alone makes no stack of a file that says how its pages lie.
    pages = frames_of(tmp_path, tiff(CLIP[:2], description=described(4)))
    assert [np.array_equal(f.pixels, p) for f, p in zip(pages, CLIP[:2], strict=True)] == [True] * 2
    (one,) = frames_of(tmp_path, tiff([GREY], description=b"Fiji\nimages=9\n\0"))
    assert np.array_equal(one.pixels, GREY)


@pytest.mark.parametrize("pictures", [CLIP, [as_rgb(p) for p in CLIP], [as_rgb(GREY), *CLIP[1:]]])
@pytest.mark.parametrize("default", [False, True])
def test_an_animated_png(tmp_path, pictures, default):
    images = [Image.fromarray(p).convert("RGB") for p in pictures]
    data = saved(images[0], "PNG", save_all=True, append_images=images[1:], default_image=default)
    found = frames_of(tmp_path, data)
    shown = [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in pictures]
    full = [f.pixels if f.pixels.ndim == 3 else np.repeat(f.pixels[..., None], 3, 2) for f in found]
    assert [np.array_equal(f, p) for f, p in zip(full, shown, strict=True)] == [True] * 4
    assert [f.frame_index for f in frames_of(tmp_path, data, ReadLimits(frames_per_clip=2))] == [0, 3]
    with pytest.raises(RejectedScan, match="max_frames"):
        frames_of(tmp_path, data, ReadLimits(max_frames=3))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_a_wholly_transparent_picture_is_judged_by_its_colours(tmp_path, mode, pixels):
    if mode == "LA" and pixels.ndim == 3:
        return
    image = Image.fromarray(pixels)
    if mode == "P":
        image = image.convert("P")
        shown = np.asarray(image.convert("RGB"))
        data = saved(image, "PNG", transparency=bytes(256))
    else:
        image = image.convert(mode)
        image.putalpha(0)
        shown, data = np.asarray(Image.fromarray(pixels).convert("RGB")), saved(image, "PNG")
    (frame,) = frames_of(tmp_path, data)
    full = frame.pixels if frame.pixels.ndim == 3 else np.repeat(frame.pixels[..., None], 3, 2)
    assert np.array_equal(full, shown)
    assert "transparent" in frame.notes[0]


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("pages", [1, 3])
def test_a_tiff_in_which_white_is_zero(tmp_path, bits, order, pages):
    most = (1 << bits) - 1
    stored = [(most - (p.astype(np.uint16) << (bits - 8))).astype(np.uint16 if bits > 8 else np.uint8) for p in CLIP]
    found = frames_of(tmp_path, tiff(stored[:pages], order=order, photometric=0))
    assert [np.array_equal(f.pixels, p) for f, p in zip(found, CLIP, strict=False)] == [True] * pages


def test_reduced_copies_are_no_frames(tmp_path):
    small = np.asarray(Image.fromarray(GREY).resize((43, 32), Image.Resampling.BOX))
    other = np.asarray(Image.fromarray(GREY[::-1]).resize((43, 32), Image.Resampling.BOX))
    (frame,) = frames_of(tmp_path, tiff([GREY, small]))
    assert np.array_equal(frame.pixels, GREY)
    assert frame.notes == ("1 reduced copy of the picture left out",)
    kept = frames_of(tmp_path, tiff([GREY, other, small, CLIP[1]]))
    assert [f.pixels.shape for f in kept] == [GREY.shape, other.shape, GREY.shape]
    assert [f.frame_index for f in kept] == [0, 1, 2]
    first, second = Image.fromarray(RGB), Image.fromarray(RGB[::2, ::2])
    second.encoderinfo = {"tiffinfo": {254: 1}}
    (frame,) = frames_of(tmp_path, saved(first, "TIFF", save_all=True, append_images=[second]))
    assert np.array_equal(frame.pixels, RGB)
