"""What is taken of a DICOM file equals what another decoder makes of it, or the truth; else the file is refused.

Three hundred generated files in the suite; more with FUSC_DIFFERENTIAL=5000 and a seed that was never used before:

    FUSC_DIFFERENTIAL=5000 pytest fusc_pipeline_tests/scans/test_differential.py --hypothesis-seed=N
"""

import io
import os
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, event, given, settings

from fusc_pipeline.scans.frames import REASONS, RejectedScan, as_grey_if_equal
from fusc_pipeline.scans.reading import read_scan
from fusc_pipeline_tests.scans.liars import CANARY, CODED, ENDS, FRAGMENTS, JPEG, NATIVE, Told, files, pictures, written

MORE = int(os.environ.get("FUSC_DIFFERENTIAL", "0"))


def by_pydicom(data: bytes) -> list[np.ndarray]:
    """Every frame as plain pydicom gives it, brought to eight bits as the header has it; empty where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(io.BytesIO(data), force=True)
            if header.get("PixelRepresentation") not in (0, 1):
                header.PixelRepresentation = 0  # what it refuses, though nothing hangs on it
            if not _is_number(header):
                del header.NumberOfFrames
            values = header.pixel_array
            bits, kind = int(header.BitsStored), str(header.PhotometricInterpretation)
            if values.ndim == 2 + (header.SamplesPerPixel > 1):
                values = values[None]
    except Exception:  # noqa: BLE001 - a refusal, whatever it is called
        return []
    values = values.astype(np.int64)
    if header.PixelRepresentation == 1:
        values = values + (1 << (bits - 1))
    shown = values >> (bits - 8) if bits >= 8 else values * 255 // ((1 << bits) - 1)
    shown = np.clip(shown, 0, 255).astype(np.uint8)
    return [as_grey_if_equal(255 - one if kind == "MONOCHROME1" else one) for one in shown]


def _is_number(header: pydicom.Dataset) -> bool:
    try:
        return int(header.get("NumberOfFrames") or 1) > 0
    except (TypeError, ValueError):
        return False


def same(one: np.ndarray, other: np.ndarray, told: Told) -> bool:
    """Equal; colour differences are rounded twice on their way, 4:2:2 and JPEG lose some."""
    if one.ndim != other.ndim:
        one, other = (p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in (one, other))
    if one.shape != other.shape:
        return False
    allowed = {"grey": 0.0, "negative": 0.0, "rgb": 0.0, "ybr": 2.0, "pairs": 6.0}[told.colour]
    return np.abs(one.astype(int) - other).mean() <= allowed + 2.5 * (told.syntax == JPEG)


def judged(told: Told, data: bytes, path) -> str:
    """ "taken" or a reason; AssertionError for a wrong pixel, a lost frame or a private byte in a picture."""
    path.write_bytes(data)
    truth = [as_grey_if_equal(picture) for picture in pictures(told)]
    taken, refused = [], None
    try:
        for frame in read_scan(path):
            taken.append(frame)
    except RejectedScan as error:
        refused = error
        assert error.reason in REASONS
        assert "QZX" not in error.detail
    # Polarity, a plausible size and a plausible depth are the header's to say: nothing else knows them.
    believed = by_pydicom(data) if taken else []
    if told.changed.isdisjoint({"Rows", "Columns"}):
        believed = believed[: len(truth)]
    for frame in taken:
        assert CANARY[:16] not in frame.pixels.tobytes()
        acceptable = [p[frame.frame_index] for p in (truth, believed) if frame.frame_index < len(p)]
        own = truth[frame.frame_index] if frame.frame_index < len(truth) else truth[-1]
        # Twelve bits announced for ten look like a picture of twelve; rows left out are not missed in a single frame.
        said = dict(told.lies).get("BitsStored")
        if isinstance(said, int) and said > told.bits:
            less = said - told.bits
            acceptable.append(255 - ((255 - own) >> less) if told.colour == "negative" else own >> less)
        if "Rows" in told.changed and told.frames == 1:
            acceptable.append(own[: frame.pixels.shape[0]])
        if "Rows" in told.changed and told.length == "half":
            # Twice as many frames of half the rows is what such a file says in every respect.
            rows = frame.pixels.shape[0]
            acceptable += [one[at : at + rows] for one in truth for at in range(0, told.rows - rows + 1, rows)]
        if "PhotometricInterpretation" in told.changed:
            acceptable += [255 - picture for picture in acceptable]
        assert any(same(frame.pixels, picture, told) for picture in acceptable), (frame, frame.notes)
    if refused is None:
        # Where half of the data is left out and the count says nothing of it, nobody can miss it.
        unknown = {"Rows", "Columns"} | ({"NumberOfFrames"} if told.length == "half" else set())
        assert len(taken) >= (len(truth) if told.changed.isdisjoint(unknown) else 1), (len(taken), frame.notes)
    return "taken" if refused is None else refused.reason


@settings(
    max_examples=MORE or 300,
    derandomize=not MORE,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(files())
def test_taken_right_or_refused(tmp_path, told):
    event(judged(told, written(told), tmp_path / "a"))


@settings(max_examples=60, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_honest_files_are_taken(tmp_path, told):
    """The generator itself: without lies, every file is a good one, by pydicom as well."""
    honest = Told(
        *(
            getattr(told, name)
            for name in ("seed", "syntax", "syntax", "frames", "colour", "bits", "planar", "rows", "columns")
        )
    )
    data = written(honest)
    assert judged(honest, data, tmp_path / "a") == "taken"
    if honest.syntax in NATIVE and not (honest.colour == "pairs" and honest.columns % 2):
        assert all(map(same, by_pydicom(data), pictures(honest), [honest] * honest.frames))


@pytest.mark.parametrize("fragments", FRAGMENTS)
@pytest.mark.parametrize("syntax", CODED)
def test_no_byte_around_the_fragments_becomes_a_pixel(tmp_path, syntax, fragments):
    for end in ENDS:
        for count in (None, "1", "3"):
            told = Told(7, syntax, syntax, 3, "grey", 8, False, 64, 80, (("NumberOfFrames", count),))
            told = replace(told, fragments=fragments, end=end)
            judged(told, written(told), tmp_path / "a")


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("length", ["empty", "half", "short by one", "over the next", "beyond the file"])
@pytest.mark.parametrize("frames", [1, 3])
def test_no_byte_around_the_element_becomes_a_pixel(tmp_path, syntax, length, frames):
    for count in ("right", None, "0", "1"):
        lies = () if count == "right" else (("NumberOfFrames", count),)
        told = Told(7, syntax, syntax, frames, "grey", 8, False, 64, 80, lies, length=length)
        reason = judged(told, written(told), tmp_path / "a")
        if length == "empty":
            assert reason == "empty_picture"
