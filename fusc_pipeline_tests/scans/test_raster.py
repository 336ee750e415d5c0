import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fusc_pipeline.scans.frames import REASONS, ReadLimits, RejectedScan
from fusc_pipeline.scans.reading import read_scan, sniff
from fusc_pipeline_tests.scans.make import as_rgb, sector

GREY, _ = sector(96, 128, r0=10, r1=80)
RGB = as_rgb(GREY)


def write(path, image, kind, **options):
    Image.fromarray(image).save(path, kind, **options)
    return path


def only(path, limits=None):
    (frame,) = read_scan(path, limits)
    return frame


def refusal(path, limits=None):
    with pytest.raises(RejectedScan) as caught:
        list(read_scan(path, limits))
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_formats_are_exact(tmp_path, kind, pixels):
    frame = only(write(tmp_path / "no-suffix", pixels, kind))
    assert np.array_equal(frame.pixels, pixels)
    assert (frame.source_format, frame.n_frames, frame.transfer_syntax) == (kind.lower(), 1, None)


def test_jpeg_under_a_wrong_name(tmp_path):
    frame = only(write(tmp_path / "scan.dcm", GREY, "JPEG", quality=95))
    assert frame.source_format == "jpeg"
    assert np.abs(frame.pixels.astype(int) - GREY).mean() < 3


def test_equal_channels_become_grey(tmp_path):
    assert only(write(tmp_path / "a", np.repeat(GREY[..., None], 3, 2), "PNG")).pixels.ndim == 2


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_sixteen_bit_grey(tmp_path, kind, bits):
    pixels = GREY.copy()
    pixels[0, 0] = 255
    assert np.array_equal(only(write(tmp_path / "a", pixels.astype(np.uint16) << (bits - 8), kind)).pixels, pixels)


def test_palette_one_bit_and_alpha(tmp_path):
    Image.fromarray(GREY).convert("P").save(tmp_path / "p", "PNG")
    assert np.array_equal(only(tmp_path / "p").pixels, GREY)
    Image.fromarray(GREY > 60).save(tmp_path / "1", "PNG")
    assert np.array_equal(only(tmp_path / "1").pixels, np.where(GREY > 60, 255, 0))
    rgba = np.dstack([RGB, np.where(np.arange(128) < 64, 0, 255)[None].repeat(96, 0).astype(np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a", "PNG")
    shown = only(tmp_path / "a").pixels
    assert not shown[:, :64].any()
    assert np.array_equal(shown[:, 64:], GREY[:, 64:]) or np.array_equal(shown[:, 64:], RGB[:, 64:])


def test_pages_of_a_tiff(tmp_path):
    pages = [Image.fromarray(np.full((64, 64), 20 * i, np.uint8)) for i in range(7)]
    pages[0].save(tmp_path / "a", "TIFF", save_all=True, append_images=pages[1:])
    found = list(read_scan(tmp_path / "a", ReadLimits(frames_per_clip=3)))
    assert [(f.frame_index, f.n_frames, int(f.pixels[0, 0])) for f in found] == [(0, 7, 0), (3, 7, 60), (6, 7, 120)]
    assert refusal(tmp_path / "a", ReadLimits(max_frames=5)).reason == "too_many_pixels"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_short(tmp_path, kind, share):
    data = write(tmp_path / "a", GREY, kind).read_bytes()
    (tmp_path / "b").write_bytes(data[: int(len(data) * share)])
    assert refusal(tmp_path / "b").reason in ("truncated", "damaged")


def test_cut_short_png_says_so(tmp_path):
    data = write(tmp_path / "a", GREY, "PNG").read_bytes()
    (tmp_path / "b").write_bytes(data[: len(data) // 2])
    assert refusal(tmp_path / "b").reason == "truncated"


def test_a_header_that_claims_too_much(tmp_path):
    data = bytearray(write(tmp_path / "a", GREY, "PNG").read_bytes())
    data[16:24] = struct.pack(">2I", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (tmp_path / "b").write_bytes(bytes(data))
    assert refusal(tmp_path / "b").reason == "too_many_pixels"


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "a", "TIFF")
    assert refusal(tmp_path / "a").reason == "unsupported_pixels"


def test_empty_large_and_other_files(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert refusal(tmp_path / "empty").reason == "empty"
    (tmp_path / "text").write_text("Patient CANARY was here")
    assert refusal(tmp_path / "text").reason == "not_an_image"
    assert "CANARY" not in refusal(tmp_path / "text").detail
    path = write(tmp_path / "a", GREY, "PNG")
    assert refusal(path, ReadLimits(max_file_bytes=100)).reason == "too_large"
    assert refusal(tmp_path / "missing-CANARY").reason == "unreadable"
    assert "CANARY" not in refusal(tmp_path / "missing-CANARY").detail


def test_text_chunks_change_nothing(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "CANARY" * 100)
    Image.fromarray(GREY).save(tmp_path / "a", "PNG", pnginfo=info)
    assert np.array_equal(only(tmp_path / "a").pixels, GREY)
    bomb = PngImagePlugin.PngInfo()
    bomb.add_text("Comment", "CANARY" * 1_000_000, zip=True)
    Image.fromarray(GREY).save(tmp_path / "b", "PNG", pnginfo=bomb)
    assert "CANARY" not in refusal(tmp_path / "b").detail


def test_sniffing_goes_by_content(tmp_path):
    for kind in ("PNG", "JPEG", "TIFF"):
        assert sniff(write(tmp_path / "a", GREY, kind)) == kind.lower()
    (tmp_path / "b").write_bytes(b"\xff\xd8\xff" + bytes(125) + b"DICM")
    assert sniff(tmp_path / "b") == "dicom"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused(tmp_path, data):
    buffer = io.BytesIO()
    pages = [Image.fromarray(GREY[:24, :32]), Image.fromarray(RGB[:24, :32])]
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF"]))
    extra = {"save_all": True, "append_images": pages[1:]} if kind == "TIFF" else {}
    pages[0].save(buffer, kind, **extra)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))
    try:
        for frame in read_scan(path):
            assert frame.pixels.dtype == np.uint8
    except RejectedScan as error:
        assert error.reason in REASONS
