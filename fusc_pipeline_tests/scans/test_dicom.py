import io
import logging
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from fusc_pipeline.scans.frames import REASONS, ReadLimits, RejectedScan
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline_tests.scans.make import (
    PATIENT_ID,
    PATIENT_NAME,
    STUDY_UID,
    add_region,
    as_rgb,
    dataset,
    jpeg_dataset,
    save,
    save_jpeg,
    sector,
)

GREY, _ = sector(96, 128, r0=10, r1=80)
RGB = as_rgb(GREY)
NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def only(path, limits=None):
    (frame,) = read_scan(path, limits)
    return frame


def refusal(path, limits=None):
    with pytest.raises(RejectedScan) as caught:
        list(read_scan(path, limits))
    return caught.value


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_uncompressed_is_exact(tmp_path, syntax, pixels):
    frame = only(save(tmp_path / "a", dataset(pixels), syntax))
    assert np.array_equal(frame.pixels, pixels)
    assert (frame.source_format, frame.transfer_syntax, frame.n_frames) == ("dicom", str(syntax), 1)
    assert (frame.patient_id, frame.study_uid, frame.machine) == (PATIENT_ID, STUDY_UID, "ge voluson e8")


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_rle_is_exact(tmp_path, pixels):
    ds = dataset(pixels)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(only(save(tmp_path / "a", ds, RLELossless)).pixels, pixels)


def test_jpeg_baseline_is_what_pillow_decodes(tmp_path):
    frame = only(save_jpeg(tmp_path / "a", [RGB]))
    assert frame.pixels.shape == RGB.shape
    assert np.abs(frame.pixels.astype(int) - RGB).mean() < 4
    grey = only(save_jpeg(tmp_path / "b", [GREY]))
    assert grey.pixels.shape == GREY.shape
    assert np.abs(grey.pixels.astype(int) - GREY).mean() < 4


def test_planar_colour(tmp_path):
    ds = dataset(RGB)
    ds.PlanarConfiguration = 1
    ds.PixelData = RGB.transpose(2, 0, 1).tobytes()
    assert np.array_equal(only(save(tmp_path / "a", ds)).pixels, RGB)


def test_equal_channels_become_grey(tmp_path):
    frame = only(save(tmp_path / "a", dataset(np.repeat(GREY[..., None], 3, axis=2))))
    assert np.array_equal(frame.pixels, GREY)


def test_ybr_full_becomes_rgb(tmp_path):
    ybr = np.empty((*GREY.shape, 3), np.uint8)
    ybr[..., 0], ybr[..., 1:] = GREY, 128
    frame = only(save(tmp_path / "a", dataset(ybr, photometric="YBR_FULL")))
    assert np.array_equal(frame.pixels, GREY)


def test_monochrome1_is_inverted(tmp_path):
    frame = only(save(tmp_path / "a", dataset(GREY, photometric="MONOCHROME1")))
    assert np.array_equal(frame.pixels, 255 - GREY)


@pytest.mark.parametrize("low_byte", [False, True])
def test_palette_colour(tmp_path, low_byte):
    ds = dataset(GREY, photometric="PALETTE COLOR")
    tables = [np.arange(256), np.arange(256)[::-1], np.full(256, 7)]
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        stored = table if low_byte else table * 256
        setattr(ds, f"{name}PaletteColorLookupTableData", stored.astype("<u2").tobytes())
    frame = only(save(tmp_path / "a", ds))
    assert np.array_equal(frame.pixels, np.stack([table[GREY] for table in tables], axis=-1))


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("syntax", NATIVE)
def test_deep_grey_keeps_its_high_bits(tmp_path, bits, syntax):
    deep = GREY.astype(np.uint16) << (bits - 8)
    assert np.array_equal(only(save(tmp_path / "a", dataset(deep, bits=bits), syntax)).pixels, GREY)


def test_deep_grey_goes_through_its_window(tmp_path):
    ds = dataset(np.tile(np.arange(0, 4096, 32, dtype=np.uint16), (96, 1)), bits=12)
    ds.WindowCenter, ds.WindowWidth = 1024, 2048
    pixels = only(save(tmp_path / "a", ds)).pixels
    assert pixels[0, 0] == 0
    assert (pixels[0, 64:] == 255).all()
    assert abs(int(pixels[0, 32]) - 128) <= 1


def test_signed_grey(tmp_path):
    ds = dataset((GREY.astype(np.int16) * 16 - 2048), bits=12)
    ds.PixelData = (GREY.astype(np.int16) * 16 - 2048).astype("<i2").tobytes()
    ds.PixelRepresentation = 1
    assert np.array_equal(only(save(tmp_path / "a", ds)).pixels, GREY)


@pytest.mark.parametrize(
    "frames, per_clip, expected", [(3, 8, [0, 1, 2]), (20, 4, [0, 6, 13, 19]), (9, 1, [4]), (2, 2, [0, 1])]
)
def test_evenly_spaced_frames_of_a_clip(tmp_path, frames, per_clip, expected):
    stack = np.stack([np.full((64, 64), 10 * i + 5, np.uint8) for i in range(frames)])
    path = save(tmp_path / "a", dataset(stack, frames=frames))
    found = list(read_scan(path, ReadLimits(frames_per_clip=per_clip)))
    assert [frame.frame_index for frame in found] == expected
    assert [int(frame.pixels[0, 0]) for frame in found] == [10 * i + 5 for i in expected]
    assert {frame.n_frames for frame in found} == {frames}


def test_frames_of_an_encapsulated_clip(tmp_path):
    frames = [np.full((64, 64), 20 * i + 5, np.uint8) for i in range(6)]
    found = list(read_scan(save_jpeg(tmp_path / "a", frames), ReadLimits(frames_per_clip=3)))
    assert [frame.frame_index for frame in found] == [0, 2, 5]
    assert [int(frame.pixels[0, 0]) for frame in found] == [5, 45, 105]


def test_region_and_scale(tmp_path):
    ds = dataset(GREY)
    add_region(ds, (10, 8, 99, 79))
    frame = only(save(tmp_path / "a", ds))
    assert frame.region == (10, 8, 100, 80)
    assert frame.mm_per_px == pytest.approx(0.2)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("cut", [1, 500, 11_000])
def test_cut_short_native(tmp_path, syntax, cut):
    data = save(tmp_path / "a", dataset(GREY), syntax).read_bytes()
    (tmp_path / "b").write_bytes(data[:-cut])
    assert refusal(tmp_path / "b").reason == "truncated"


@pytest.mark.parametrize("cut", [9, 300, 1500])
def test_cut_short_encapsulated(tmp_path, cut):
    data = save_jpeg(tmp_path / "a", [RGB]).read_bytes()
    (tmp_path / "b").write_bytes(data[:-cut])
    assert refusal(tmp_path / "b").reason == "truncated"


def test_fewer_fragments_than_frames(tmp_path):
    ds = jpeg_dataset([GREY])
    ds.NumberOfFrames = 3
    assert refusal(save(tmp_path / "a", ds, JPEGBaseline8Bit)).reason == "truncated"


def test_more_frames_than_pixels(tmp_path):
    ds = dataset(GREY)
    ds.NumberOfFrames = 5
    assert refusal(save(tmp_path / "a", ds)).reason == "truncated"


def test_claims_are_checked_before_decoding(tmp_path):
    ds = dataset(GREY)
    ds.Rows = ds.Columns = 65535
    assert refusal(save(tmp_path / "a", ds)).reason == "too_many_pixels"
    ds = dataset(GREY)
    ds.NumberOfFrames = 10**8
    assert refusal(save(tmp_path / "b", ds)).reason == "too_many_pixels"


def test_codestream_larger_than_the_header(tmp_path):
    ds = jpeg_dataset([np.zeros((2000, 2000), np.uint8)])
    ds.Rows, ds.Columns = 100, 100
    rejected = refusal(save(tmp_path / "a", ds, JPEGBaseline8Bit))
    assert rejected.reason == "damaged"
    assert "2000 x 2000" in rejected.detail


def test_run_length_bomb(tmp_path):
    segment = bytes([129, 0]) * 200_000
    frame = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + segment
    ds = dataset(GREY)
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    path = save(tmp_path / "a", ds, RLELossless)
    assert refusal(path, ReadLimits(max_decoded_bytes=1 << 24)).reason == "too_many_pixels"


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"Modality": "CT"}, "not_ultrasound"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "unsupported_pixels"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported_pixels"),
        ({"SamplesPerPixel": 4}, "unsupported_pixels"),
        ({"Rows": 0}, "damaged"),
        ({"NumberOfFrames": -3}, "damaged"),
    ],
)
def test_headers_that_are_refused(tmp_path, change, reason):
    ds = dataset(GREY)
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    assert refusal(save(tmp_path / "a", ds)).reason == reason


def test_an_object_without_a_picture(tmp_path):
    ds = dataset(GREY)
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(ds, keyword)
    assert refusal(save(tmp_path / "a", ds)).reason == "no_pixels"


def test_pixel_data_missing(tmp_path):
    ds = dataset(GREY)
    del ds.PixelData
    assert refusal(save(tmp_path / "a", ds)).reason == "truncated"


def test_a_private_encoding_is_not_named(tmp_path):
    path = save(tmp_path / "a", jpeg_dataset([GREY]), pydicom.uid.UID("1.2.3.4.7741.99"))
    rejected = refusal(path)
    assert rejected.reason == "unsupported_encoding"
    assert "7741" not in rejected.detail


def test_refusals_never_quote_the_header(tmp_path, capfd, caplog):
    """Values that pydicom's own messages quote, planted where they break the parse, with every channel listened to."""
    caplog.set_level(logging.DEBUG)
    caught = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for number, (keyword, value) in enumerate(
            [
                ("NumberOfFrames", "CANARY"),
                ("WindowCenter", "CANARY"),
                ("StudyInstanceUID", "CANARY not a uid"),
                ("PhotometricInterpretation", "CANARY"),
                ("PatientID", "CANARY" * 40),
            ]
        ):
            data = io.BytesIO()
            ds = dataset(GREY.astype(np.uint16), bits=12)
            if keyword == "WindowCenter":
                ds.WindowWidth = 5
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with pydicom.config.disable_value_validation():
                    ds.add(pydicom.dataelem.DataElement(pydicom.datadict.tag_for_keyword(keyword), "LO", value))
                    path = save(tmp_path / f"{number}", ds)
            data = path.read_bytes()
            vr = pydicom.datadict.dictionary_VR(keyword).encode()
            tag = pydicom.tag.Tag(keyword)
            head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
            path.write_bytes(data.replace(head + b"LO", head + vr))
            caplog.clear()
            try:
                list(read_scan(path))
            except RejectedScan as error:
                caught.append(error)
    assert caught
    printed = "".join(capfd.readouterr())
    told = [*(e.detail + str(e) for e in caught), *(str(w.message) for w in seen), printed, caplog.text]
    for text in told:
        assert "CANARY" not in text
        assert PATIENT_NAME not in text


SEEDS = [
    lambda path: save(path, dataset(GREY)),
    lambda path: save(path, dataset(RGB), ImplicitVRLittleEndian),
    lambda path: save_jpeg(path, [GREY, GREY]),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused(tmp_path, data):
    path = data.draw(st.sampled_from(SEEDS))(tmp_path / "a")
    content = bytearray(path.read_bytes())
    # Most of a file is pixels: half of the changes go to the header, where they can do something.
    header = min(len(content) - 1, 1100)
    for _ in range(data.draw(st.integers(1, 6))):
        where = data.draw(st.integers(0, header) | st.integers(0, len(content) - 1))
        content[where] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]))
    try:
        for frame in read_scan(path):
            assert frame.pixels.dtype == np.uint8
    except RejectedScan as error:
        assert error.reason in REASONS
