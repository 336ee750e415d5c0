"""Kinds of odd DICOM that hospitals send, each in several variants: what is taken of it, and how that is told."""

import dataclasses
import struct

import numpy as np
import pytest

from fusc_pipeline.scans.frames import RejectedScan, as_grey_if_equal
from fusc_pipeline.scans.reading import read_scan, sniff
from fusc_pipeline_tests.scans import liars
from fusc_pipeline_tests.scans.liars import (
    BIG,
    CODED,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    NATIVE,
    RLE,
    Told,
    pictures,
    written,
)
from fusc_pipeline_tests.scans.make import add_region, dataset, save, sector
from fusc_pipeline_tests.scans.test_differential import judged, same

GREY, _ = sector(97, 129, r0=10, r1=80)


def told(syntax=EXPLICIT, colour="grey", frames=1, **fields):
    lies = tuple(fields.pop("lies", {}).items())
    plain = Told(11, syntax, syntax, frames, colour, 8, False, 64, 80, lies)
    return dataclasses.replace(plain, **fields)


def frames_of(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    return list(read_scan(tmp_path / "a"))


def refusal(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RejectedScan) as caught:
        list(read_scan(tmp_path / "a"))
    return caught.value


def is_read(tmp_path, file, note=""):
    found = frames_of(tmp_path, written(file))
    assert len(found) == file.frames == found[0].n_frames
    for frame, picture in zip(found, pictures(file), strict=True):
        assert same(frame.pixels, as_grey_if_equal(picture), file)
    assert note in "; ".join(found[0].notes)
    return found


@pytest.mark.parametrize(
    "file",
    [
        told(colour="rgb", lies={"PhotometricInterpretation": "YBR_FULL_422"}),
        told(BIG, "ybr", lies={"PhotometricInterpretation": "YBR_FULL_422"}),
        told(IMPLICIT, "ybr", 3, lies={"PhotometricInterpretation": "YBR_FULL_422"}),
        told(DEFLATED, "rgb", 2, lies={"PhotometricInterpretation": "YBR_FULL_422", "NumberOfFrames": None}),
    ],
)
def test_three_samples_called_4_2_2(tmp_path, file):
    is_read(tmp_path, file, "the header said 4:2:2")


@pytest.mark.parametrize("columns", [80, 75])
@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("frames", [1, 3])
def test_real_4_2_2(tmp_path, syntax, columns, frames):
    is_read(tmp_path, told(syntax, "pairs", frames, columns=columns))
    is_read(tmp_path, told(syntax, "pairs", frames, columns=columns, lies={"NumberOfFrames": None}))


@pytest.mark.parametrize("said", [None, "0", "1", "2"])
@pytest.mark.parametrize(
    "file", [told(frames=4), told(IMPLICIT, "rgb", 4), told(BIG, frames=4, bits=12), told(DEFLATED, "pairs", 4)]
)
def test_all_whole_frames_count(tmp_path, file, said):
    file = dataclasses.replace(file, lies=(("NumberOfFrames", said),))
    is_read(tmp_path, file, f"the count said {'nothing' if said is None else said}, 4 frames found")


@pytest.mark.parametrize("said", [None, "0", "1", "3"])
@pytest.mark.parametrize("table", liars.TABLES)
@pytest.mark.parametrize("syntax", CODED)
def test_every_codestream_is_a_frame(tmp_path, syntax, table, said):
    file = told(syntax, frames=5, table=table, lies={"NumberOfFrames": said})
    is_read(tmp_path, file, f"the count said {'nothing' if said is None else said}, 5 frames found")


@pytest.mark.parametrize("said", [None, "2", "3"])
def test_a_count_of_zero_for_one_frame_is_told(tmp_path, said):
    is_read(tmp_path, told(lies={"NumberOfFrames": "0"}), "the count said 0, 1 frame found")
    assert refusal(tmp_path, written(told(frames=1, lies={"NumberOfFrames": "3"}))).reason == "truncated"


@pytest.mark.parametrize("cut", ["split", "joined", "empty first", "empty last"])
@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, JPEG_LOSSLESS])
@pytest.mark.parametrize("frames", [1, 3])
def test_fragments_cut_anyhow(tmp_path, syntax, cut, frames):
    is_read(tmp_path, told(syntax, frames=frames, fragments=cut))


@pytest.mark.parametrize("end", ["none", "zeros", "with length", "then bytes"])
@pytest.mark.parametrize("syntax", CODED)
def test_any_end_of_the_sequence(tmp_path, syntax, end):
    is_read(tmp_path, told(syntax, frames=2, end=end), "" if end == "then bytes" else "no proper end")


@pytest.mark.parametrize("cut", ["long item", "short item"])
@pytest.mark.parametrize("syntax", [JPEG, RLE, JPEG_2000])
def test_a_fragment_whose_length_leads_astray(tmp_path, syntax, cut):
    for seed in range(4):
        file = told(syntax, frames=4, fragments=cut, lies={"NumberOfFrames": None}, seed=seed)
        judged(file, written(file), tmp_path / "a")


@pytest.mark.parametrize("tail", [b"\xff" * 7, bytes(range(1, 40)), b"\n", bytes(64), b"\xff\xd9\xff\xd9\0"])
@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_LOSSLESS, JPEG_2000, HTJ2K, RLE])
@pytest.mark.parametrize("frames", [1, 3])
def test_bytes_after_the_end_of_a_codestream(tmp_path, syntax, tail, frames):
    is_read(tmp_path, told(syntax, frames=frames, trailer=tail))


@pytest.mark.parametrize("label", ["YBR_FULL_422", "YBR_FULL", "RGB", "YBR_RCT"])
@pytest.mark.parametrize("syntax", [JPEG_2000, HTJ2K])
@pytest.mark.parametrize("frames", [1, 2])
def test_jpeg_2000_knows_its_own_colours(tmp_path, syntax, label, frames):
    is_read(tmp_path, told(syntax, "rgb", frames, lies={"PhotometricInterpretation": label}))


@pytest.mark.parametrize("label", ["YBR_FULL_422", "YBR_FULL", "RGB", None])
@pytest.mark.parametrize("syntax", [JPEG_2000, JPEG_LS, RLE, JPEG_LOSSLESS, JPEG])
def test_colour_differences_are_seen_in_the_samples(tmp_path, syntax, label):
    for frames in (1, 2):
        is_read(tmp_path, told(syntax, "ybr", frames, lies={"PhotometricInterpretation": label}))


@pytest.mark.parametrize(
    ("written_as", "announced"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT), (EXPLICIT, None), (IMPLICIT, None)]
)
@pytest.mark.parametrize("colour", ["grey", "rgb", "pairs"])
@pytest.mark.parametrize("frames", [1, 3])
def test_value_types_as_found(tmp_path, written_as, announced, colour, frames):
    note = "transfer syntax" if announced is None else "value types"
    is_read(tmp_path, told(written_as, colour, frames, announced=announced), note)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("announced", [IMPLICIT, EXPLICIT])
@pytest.mark.parametrize("syntax", [JPEG, RLE, JPEG_2000])
def test_an_uncompressed_syntax_with_fragments(tmp_path, syntax, announced, frames):
    found = refusal(tmp_path, written(told(syntax, frames=frames, announced=announced)))
    assert (found.reason, "in fragments" in found.detail) == ("damaged", True)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("announced", [JPEG, RLE, JPEG_LS, JPEG_2000])
def test_a_compressed_syntax_without_fragments(tmp_path, announced, frames):
    found = refusal(tmp_path, written(told(frames=frames, announced=announced)))
    assert (found.reason, "not in fragments" in found.detail) == ("damaged", True)


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, JPEG_2000, JPEG_LOSSLESS])
@pytest.mark.parametrize("frames", [1, 4])
def test_a_codestream_in_uncompressed_pixel_data(tmp_path, syntax, frames):
    noise = np.random.default_rng(3).integers(0, 255, (64, 80)).astype(np.uint8)
    ds = dataset(np.stack([noise] * frames) if frames > 1 else noise, frames=frames)
    ds.PixelData = (liars.code(told(syntax), noise) + bytes(64 * 80 * frames))[: 64 * 80 * frames + 100]
    found = refusal(tmp_path, save(tmp_path / "b", ds).read_bytes())
    assert (found.reason, "compressed picture" in found.detail) == ("damaged", True)


@pytest.mark.parametrize("colour", ["grey", "rgb", "negative"])
@pytest.mark.parametrize("frames", [1, 3])
def test_without_preamble_or_head(tmp_path, colour, frames):
    """With the file meta alone, and with nothing at all: both ways of writing, and compressed."""
    for syntax in (EXPLICIT, IMPLICIT, JPEG, JPEG_LS):
        if syntax in CODED and colour == "negative":
            continue
        file = told(syntax, colour, frames, preamble=False)
        is_read(tmp_path, file, "no DICOM preamble")
        data = written(file)
        bare = data[data.index(b"\x08\0\x16\0") :]
        (tmp_path / "b").write_bytes(bare)
        assert sniff(tmp_path / "b") == "dicom"
        found = frames_of(tmp_path, bare)
        assert len(found) == frames
        assert same(found[-1].pixels, as_grey_if_equal(pictures(file)[-1]), file)


def test_what_is_no_bare_data_set_for_sure(tmp_path):
    """Told how to be made one, where it may be; a picture of another kind that has no head is no ultrasound."""
    binary = b"\x08\0\x05\0CS\x08\0\x01\x02\x03\x04" + bytes(200)
    big = written(told(BIG))
    for data in (b"\x08\0\x16\0" + bytes(200), binary, big[big.index(b"\0\x08\0\x16UI") :]):
        (tmp_path / "a").write_bytes(data)
        assert sniff(tmp_path / "a") is None
        found = refusal(tmp_path, data)
        assert (found.reason, "dcmconv" in found.detail) == ("no_dicom_head", True)
    assert refusal(tmp_path, bytes(400)).reason == refusal(tmp_path, b"\x08 words").reason == "not_an_image"
    data = written(told())
    data = data[data.index(b"\x08\0\x16\0") :]
    assert refusal(tmp_path, data.replace(b"CS\2\0US", b"CS\2\0OT")).reason == "not_ultrasound"


@pytest.mark.parametrize(("centre", "width"), [(2048, 0), (0, 0), ("0.5", "0.5"), (2048, 1), ("", ""), (100, -5)])
@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_windows_that_show_nothing(tmp_path, centre, width, bits, photometric):
    ds = dataset(np.stack([GREY.astype(np.uint16) << (bits - 8)] * 2), frames=2, bits=bits, photometric=photometric)
    ds.WindowCenter, ds.WindowWidth = centre, width
    for frame in read_scan(save(tmp_path / "a", ds)):
        assert np.array_equal(frame.pixels, GREY if photometric == "MONOCHROME2" else 255 - GREY)


@pytest.mark.parametrize("said", [None, 1, 3])
@pytest.mark.parametrize("colour", [False, True])
def test_a_byte_of_padding_after_each_odd_frame(tmp_path, said, colour):
    rng = np.random.default_rng(4)
    frames = [np.roll(GREY, rng.integers(0, 9), 1) for _ in range(3)]
    stored = [np.repeat(f[..., None], 3, 2) if colour else f for f in frames]
    ds = dataset(stored[0])
    if said:
        ds.NumberOfFrames = said
    ds.PixelData = b"".join(f.tobytes() + b"\0" for f in stored)
    found = list(read_scan(save(tmp_path / "a", ds)))
    assert [np.array_equal(one.pixels, f) for one, f in zip(found, frames, strict=True)] == [True] * 3
    assert "byte of padding" in "; ".join(found[0].notes)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_where_the_bits_lie(tmp_path, bits, photometric):
    shown = GREY if photometric == "MONOCHROME2" else 255 - GREY
    values = GREY.astype(np.uint16) << (bits - 8)
    for left, high, rubbish in [(True, 15, 0), (False, 15, 0), (False, bits - 1, 0x7 << 13), (False, None, 0)]:
        ds = dataset((values << (16 - bits) if left else values) | rubbish, bits=16, photometric=photometric)
        ds.BitsStored, ds.HighBit = bits, high
        if high is None:
            del ds.HighBit
        if left or bits < 12:  # twelve bits on the right of sixteen announced on the left are twelve bits, too
            (frame,) = read_scan(save(tmp_path / "a", ds))
            assert np.array_equal(frame.pixels, shown), (left, high, rubbish)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_an_eight_bit_screen_with_the_sign_flag(tmp_path, photometric, frames):
    for syntax in (EXPLICIT, BIG, RLE):
        colour = "grey" if photometric == "MONOCHROME2" else "negative"
        is_read(tmp_path, told(syntax, colour, frames, lies={"PixelRepresentation": 1}))


@pytest.mark.parametrize("used", [8, 12])
@pytest.mark.parametrize("photometric", ["MONOCHROME2"])
@pytest.mark.parametrize("frames", [1, 3])
def test_fewer_bits_used_than_announced(tmp_path, used, photometric, frames):
    dim = [GREY // (n + 1) for n in range(frames)]
    values = np.stack(dim).astype(np.uint16) << (used - 8)
    ds = dataset(values if frames > 1 else values[0], frames=frames, bits=16, photometric=photometric)
    found = list(read_scan(save(tmp_path / "a", ds)))
    # One depth for a clip: its dim frames stay dim.
    assert [np.array_equal(one.pixels, f) for one, f in zip(found, dim, strict=True)] == [True] * frames
    assert f"{used} are used" in "; ".join(found[0].notes)


@pytest.mark.parametrize("missing", ["PlanarConfiguration", "PhotometricInterpretation", "SamplesPerPixel"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("colour", ["rgb", "ybr"])
@pytest.mark.parametrize("frames", [1, 2])
def test_what_three_samples_tell_of_themselves(tmp_path, missing, planar, colour, frames):
    for syntax in (EXPLICIT, BIG):
        is_read(tmp_path, told(syntax, colour, frames, planar=planar, lies={missing: None}))


@pytest.mark.parametrize("name", ["PixelRepresentation", "HighBit", "BitsStored", "SamplesPerPixel"])
@pytest.mark.parametrize("colour", ["grey", "negative"])
@pytest.mark.parametrize("frames", [1, 3])
def test_what_one_sample_tells_of_itself(tmp_path, name, colour, frames):
    is_read(tmp_path, told(colour=colour, frames=frames, lies={name: None}))


def test_a_grey_picture_without_photometric_interpretation(tmp_path):
    for syntax, frames in ((EXPLICIT, 1), (JPEG_LS, 2), (BIG, 3)):
        is_read(tmp_path, told(syntax, frames=frames, lies={"PhotometricInterpretation": None}), "taken for black")
        found = refusal(tmp_path, written(told(syntax, "negative", frames, lies={"PhotometricInterpretation": None})))
        assert "PhotometricInterpretation" in found.detail


@pytest.mark.parametrize("name", ["SamplesPerPixel", "PhotometricInterpretation"])
def test_colour_that_is_called_grey(tmp_path, name):
    wrong = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}[name]
    for syntax, colour in ((EXPLICIT, "rgb"), (IMPLICIT, "ybr"), (BIG, "rgb")):
        is_read(tmp_path, told(syntax, colour, lies={name: wrong}))


def test_presentation_lut_shape(tmp_path):
    for pixels, bits, kind in ((GREY, 8, "MONOCHROME2"), (GREY.astype(np.uint16) << 4, 12, "MONOCHROME2")):
        ds = dataset(pixels, bits=bits, photometric=kind)
        ds.PresentationLUTShape = "INVERSE"
        (frame,) = read_scan(save(tmp_path / "a", ds))
        assert np.array_equal(frame.pixels, 255 - GREY)
        assert "Presentation LUT Shape" in frame.notes[0]
    ds = dataset(np.stack([GREY] * 2), frames=2, photometric="MONOCHROME1")  # as the two belong together
    ds.PresentationLUTShape = "INVERSE"
    assert all(np.array_equal(frame.pixels, 255 - GREY) for frame in read_scan(save(tmp_path / "a", ds)))


@pytest.mark.parametrize("way", ["garbage", "item without end", "private without end"])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG, RLE])
@pytest.mark.parametrize("frames", [1, 3])
def test_an_optional_sequence_that_is_broken(tmp_path, way, syntax, frames):
    inside = b"\x18\0\x12\x60US\2\0\1\0" + b"\x18\0\x14\x60US\2\0\1\0"
    item, end = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    broken = {
        "garbage": b"\x18\0\x11\x60UN\0\0\4\0\0\0\1\2\3\4",
        "item without end": b"\x18\0\x11\x60SQ\0\0\xff\xff\xff\xff" + item + inside + end,
        "private without end": b"\x19\0\x11\x60SQ\0\0\xff\xff\xff\xff" + item + inside + end,
    }[way]
    file = told(syntax, frames=frames)
    data = written(file)
    at = data.index(b"\x28\0\2\0US")
    found = frames_of(tmp_path, data[:at] + broken + data[at:])
    assert len(found) == frames
    assert all(same(frame.pixels, p, file) for frame, p in zip(found, pictures(file), strict=True))
    assert found[0].region is None


def test_a_sequence_whose_length_leads_past_the_picture_is_refused(tmp_path):
    for syntax in (EXPLICIT, JPEG, RLE):
        data = written(told(syntax))
        at = data.index(b"\x28\0\2\0US")
        inside = b"\x18\0\x12\x60US\2\0\1\0" * 3
        broken = (
            b"\x18\0\x11\x60SQ\0\0" + struct.pack("<I", len(inside)) + struct.pack("<HHI", 0xFFFE, 0xE000, 30) + inside
        )
        assert refusal(tmp_path, data[:at] + broken + data[at:]).reason == "damaged"


def test_a_good_region_survives_a_broken_neighbour(tmp_path):
    ds = dataset(GREY)
    add_region(ds, (10, 8, 99, 79))
    data = save(tmp_path / "b", ds).read_bytes()
    assert frames_of(tmp_path, data)[0].region == (10, 8, 100, 80)
