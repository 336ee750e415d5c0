"""Every compressed encoding that is promised, written by one library and read through the pipeline's own path."""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MPEGTransferSyntaxes,
    RLELossless,
)

from fusc_pipeline.scans.decoders import has_decoder
from fusc_pipeline.scans.frames import ReadLimits, RejectedScan
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline_tests.scans.make import dataset, save, sector

GREY, _ = sector(96, 128, r0=10, r1=80)
# Colours far from grey, in patches large enough to survive a lossy codec.
RGB = np.repeat(GREY[..., None], 3, axis=2)
RGB[:32, :32], RGB[:32, 32:64], RGB[:32, 64:96] = (220, 30, 20), (20, 200, 40), (30, 40, 210)
DEEP = (GREY.astype(np.uint16) << 4) | 5


def coded(path, streams, pixels, syntax, photometric=None, bits=8):
    """A file whose frames are these codestreams of pictures like `pixels`."""
    frames = len(streams)
    stack = np.stack([pixels] * frames) if frames > 1 else pixels
    ds = dataset(stack, frames=frames, photometric=photometric, bits=bits)
    ds.PixelData = encapsulate(streams)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return save(path, ds, syntax)


def only(path, limits=None):
    (frame,) = read_scan(path, limits)
    return frame.pixels


def refusal(path, limits=None):
    with pytest.raises(RejectedScan) as caught:
        list(read_scan(path, limits))
    return caught.value


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def bare(stream):
    """A JPEG without its JFIF or Adobe marker, as machines write it: only the DICOM header tells the colours."""
    length = int.from_bytes(stream[4:6], "big")
    assert stream[2:4] in (b"\xff\xe0", b"\xff\xee")
    return stream[:2] + stream[4 + length :]


LOSSLESS = {
    "jpeg": (JPEGLosslessSV1, lambda p: imagecodecs.jpeg8_encode(p, lossless=True)),
    "jpeg p14": (JPEGLossless, lambda p: imagecodecs.jpeg8_encode(p, lossless=True, predictor=4)),
    "jpeg-ls": (JPEGLSLossless, imagecodecs.jpegls_encode),
    "jpeg 2000": (JPEG2000Lossless, lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True)),
    "htj2k": (HTJ2KLossless, imagecodecs.htj2k_encode),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_codecs_are_exact(tmp_path, name):
    syntax, encode = LOSSLESS[name]
    assert np.array_equal(only(coded(tmp_path / "g", [encode(GREY)], GREY, syntax)), GREY)
    assert np.array_equal(only(coded(tmp_path / "c", [encode(RGB)], RGB, syntax)), RGB)


@pytest.mark.parametrize("name", ["jpeg-ls", "jpeg 2000", "htj2k"])
def test_lossless_codecs_keep_sixteen_bits(tmp_path, name):
    syntax, encode = LOSSLESS[name]
    deep = GREY.astype(np.uint16) * 257
    assert np.array_equal(only(coded(tmp_path / "g", [encode(deep)], deep, syntax, bits=16)), GREY)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_lossless_jpeg_of_more_than_eight_bits(tmp_path, bits):
    deep = GREY.astype(np.uint16) << (bits - 8)
    stream = imagecodecs.jpeg8_encode(deep, lossless=True, bitspersample=bits)
    assert np.array_equal(only(coded(tmp_path / "a", [stream], deep, JPEGLosslessSV1, bits=bits)), GREY)


def test_extended_jpeg_of_twelve_and_eight_bits(tmp_path):
    stream = imagecodecs.jpeg8_encode(DEEP, bitspersample=12, level=95)
    found = only(coded(tmp_path / "a", [stream], DEEP, JPEGExtended12Bit, bits=12))
    assert np.abs(found.astype(int) - GREY).mean() < 2
    found = only(coded(tmp_path / "b", [jpeg(GREY)], GREY, JPEGExtended12Bit))
    assert np.abs(found.astype(int) - GREY).mean() < 2


LOSSY = {
    "jpeg-ls": (JPEGLSNearLossless, "RGB", lambda p: imagecodecs.jpegls_encode(p, level=2)),
    "jpeg 2000": (JPEG2000, "YBR_ICT", lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=45)),
    "htj2k": (HTJ2K, "YBR_ICT", lambda p: imagecodecs.htj2k_encode(p, reversible=False)),
    "jpeg": (JPEGBaseline8Bit, "YBR_FULL_422", jpeg),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_codecs_keep_the_colours(tmp_path, name):
    syntax, photometric, encode = LOSSY[name]
    found = only(coded(tmp_path / "a", [encode(RGB)], RGB, syntax, photometric))
    assert np.abs(found.astype(int) - RGB).mean() < 3


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_the_colours_of_a_jpeg_are_what_its_stream_says(tmp_path, photometric, subsampling):
    """The header may be left at RGB by who compressed the file; pictures then turn green elsewhere."""
    stream = jpeg(RGB, subsampling=subsampling)
    found = only(
        coded(tmp_path / "jfif", [stream] * 3, RGB, JPEGBaseline8Bit, photometric), ReadLimits(frames_per_clip=1)
    )
    assert np.abs(found.astype(int) - RGB).mean() < 4
    if (photometric, subsampling) != ("RGB", "4:4:4"):
        found = only(coded(tmp_path / "bare", [bare(stream)], RGB, JPEGBaseline8Bit, photometric))
        assert np.abs(found.astype(int) - RGB).mean() < 4


def test_a_jpeg_that_stores_rgb(tmp_path):
    stream = imagecodecs.jpeg8_encode(RGB, colorspace="RGB", outcolorspace="RGB", level=95)
    found = only(coded(tmp_path / "adobe", [stream], RGB, JPEGBaseline8Bit, "YBR_FULL_422"))
    assert np.abs(found.astype(int) - RGB).mean() < 3
    found = only(coded(tmp_path / "plain", [bare(stream)], RGB, JPEGBaseline8Bit, "RGB"))
    assert np.abs(found.astype(int) - RGB).mean() < 3


def test_all_frames_of_a_clip_have_the_same_colours(tmp_path):
    for number, stream in enumerate((jpeg(RGB), bare(jpeg(RGB)))):
        path = coded(tmp_path / f"{number}", [stream] * 4, RGB, JPEGBaseline8Bit, "YBR_FULL_422")
        frames = [frame.pixels for frame in read_scan(path)]
        assert len(frames) == 4
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        assert np.abs(frames[0].astype(int) - RGB).mean() < 4


def test_lossless_jpeg_of_ybr(tmp_path):
    ybr = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    stream = bare(imagecodecs.jpeg8_encode(ybr, lossless=True))
    # The encoder names its components R, G and B in the frame header and in the scan header.
    for head, gap in ((stream.index(b"\xff\xc3") + 10, 3), (stream.index(b"\xff\xda") + 5, 2)):
        for number in range(3):
            place = head + gap * number
            stream = stream[:place] + bytes([number + 1]) + stream[place + 1 :]
    path = coded(tmp_path / "a", [stream] * 2, RGB, JPEGLosslessSV1, "YBR_FULL")
    frames = [frame.pixels for frame in read_scan(path)]
    assert all(np.abs(frame.astype(int) - RGB).max() <= 2 for frame in frames)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_rle(tmp_path, bits, colour):
    pixels = (RGB if colour else GREY).astype(np.uint16 if bits == 16 else np.uint8) * (257 if bits == 16 else 1)
    ds = dataset(pixels, bits=bits)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    assert np.array_equal(only(save(tmp_path / "a", ds, RLELossless)), RGB if colour else GREY)


@pytest.mark.parametrize("name", [*LOSSLESS, *(f"lossy {name}" for name in LOSSY)])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_codestream_that_is_cut_short_is_no_picture(tmp_path, name, share):
    """The file around it is whole, so only the decoder can tell; some fill the rest with grey."""
    syntax, encode = LOSSLESS[name] if name in LOSSLESS else LOSSY[name[6:]][::2]
    stream = encode(GREY)
    path = coded(tmp_path / "a", [stream[: int(len(stream) * share)]], GREY, syntax)
    assert refusal(path).reason == "damaged"


def test_a_jpeg_2000_in_the_boxes_of_its_file_format(tmp_path):
    stream = imagecodecs.jpeg2k_encode(GREY, codecformat="jp2", reversible=True)
    assert stream[4:8] == b"jP  "
    assert np.array_equal(only(coded(tmp_path / "a", [stream], GREY, JPEG2000Lossless)), GREY)
    small = dataset(GREY[:50, :50])
    small.PixelData = encapsulate([stream])
    small["PixelData"].is_undefined_length = True
    assert refusal(save(tmp_path / "b", small, JPEG2000Lossless)).reason == "damaged"


def test_every_syntax_that_pydicom_decodes_has_a_decoder():
    for decoder, _ in pydicom.pixels.decoders.base._PIXEL_DATA_DECODERS.values():
        assert has_decoder(decoder.UID)


@pytest.mark.parametrize("syntax", MPEGTransferSyntaxes)
def test_video_says_what_to_do(tmp_path, syntax):
    assert not has_decoder(syntax)
    rejected = refusal(coded(tmp_path / "a", [b"\0\0\1\xb3" + bytes(60)], GREY, syntax))
    assert rejected.reason == "video"
    assert syntax.name in rejected.detail
    assert "single frames" in rejected.detail


def test_other_encodings_have_no_decoder(tmp_path):
    for syntax in (UID("1.2.840.10008.1.2.4.95"), UID("1.2.3.4.5")):
        assert refusal(coded(tmp_path / "a", [bytes(64)], GREY, syntax)).reason == "unsupported_encoding"


def deflated(path, pixels, **options):
    return save(path, dataset(pixels, **options), DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_a_small_deflated_file_is_read(tmp_path, pixels):
    (frame,) = read_scan(deflated(tmp_path / "a", pixels))
    assert np.array_equal(frame.pixels, pixels)
    assert frame.transfer_syntax == DeflatedExplicitVRLittleEndian


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    path = deflated(tmp_path / "a", np.zeros((3000, 3000), np.uint8))
    assert path.stat().st_size < 20_000
    rejected = refusal(path, ReadLimits(max_file_bytes=1 << 20))
    assert (rejected.reason, "1048576" in rejected.detail) == ("too_large", True)


def test_a_damaged_deflated_file(tmp_path):
    data = deflated(tmp_path / "a", GREY).read_bytes()
    (tmp_path / "b").write_bytes(data[:-500])
    assert refusal(tmp_path / "b").reason == "truncated"
    (tmp_path / "c").write_bytes(data[:600] + bytes(range(256)) * 4 + data[1600:])
    assert refusal(tmp_path / "c").reason == "damaged"
    (tmp_path / "d").write_bytes(data.replace(b"\2\0\0\0UL\4\0", b"\2\0\0\0XX\4\0"))
    assert refusal(tmp_path / "d").reason == "damaged"
