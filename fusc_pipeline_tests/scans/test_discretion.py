"""Whatever stands in an attribute, in a name or beside the pixels: nothing of it is in what reading a file gives."""

import re
import struct

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fusc_pipeline.scans.batch import DEFAULT_SUBJECT_PATTERN, BatchFile, Rejection, scan_file
from fusc_pipeline.scans.frames import ReadLimits
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline.scans.machines import machine_name
from fusc_pipeline_tests.integration.planted import unchecked
from fusc_pipeline_tests.scans.make import add_region, dataset, save, sector

KEYS = KeyRing(b"0123456789abcdef0123456789abcdef")
PIXELS = sector(120, 160, r1=110, r0=20)[0]
LONGEST = {"SH": 16, "CS": 16, "AE": 16, "LO": 64, "PN": 64, "ST": 80, "LT": 80, "UT": 80, "UC": 80, "UR": 64}
WORDED = sorted(tag for tag, (vr, *_) in DicomDictionary.items() if vr in LONGEST and tag >> 16 > 2)
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
# Eight random letters with a mark before them: found in a message only where they were copied into it.
SECRETS = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ", min_size=8, max_size=8).map(lambda text: f"ZQ{text}")
NOTHING_HELD: dict = {}


def read(path, relative=None):
    """The outcomes of one file, as ingestion makes them."""
    file = BatchFile(path, relative or path.name)
    return scan_file(file, KEYS, ReadLimits(), re.compile(DEFAULT_SUBJECT_PATTERN), NOTHING_HELD)


def told(outcomes, caplog, capfd) -> str:
    """Everything that was said: rows, their repr, log records, standard output and error."""
    rows = [str(value) for outcome in outcomes for value in outcome.row.values()]
    return "\n".join([repr(outcomes), *rows, caplog.text, *capfd.readouterr()]).casefold()


@pytest.mark.filterwarnings("error")  # a warning would go to standard error with the value it quotes
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    secret=SECRETS,
    tags=st.lists(st.sampled_from(WORDED), min_size=1, max_size=6, unique=True),
    syntax=st.sampled_from(SYNTAXES),
    nested=st.booleans(),
    wrong_vr=st.booleans(),
    cut=st.none() | st.floats(0.02, 0.98),
)
def test_a_string_in_any_attribute(tmp_path, caplog, capfd, secret, tags, syntax, nested, wrong_vr, cut):
    path = tmp_path / f"{secret}_1.{secret[:6]}"
    with unchecked():
        ds = dataset(PIXELS)
        add_region(ds, (5, 5, 150, 110))
        inner = ds if not nested else Dataset()
        for tag in tags:
            vr = "LO" if wrong_vr else DicomDictionary[tag][0]
            inner[tag] = DataElement(tag, vr, f"{secret} {secret}"[: LONGEST[vr]])
        if nested:
            ds.ReferencedStudySequence = Sequence([inner])
        save(path, ds, syntax)
    if cut is not None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * cut)])
    outcomes = read(path)
    assert outcomes
    assert secret.casefold() not in told(outcomes, caplog, capfd)
    for row in (outcome.row for outcome in outcomes if not isinstance(outcome, Rejection)):
        assert secret.encode().lower() not in row["png"].lower()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.binary(max_size=400), secret=SECRETS, kind=st.sampled_from(["dicom", "png", "jpeg", "tiff", "none"]))
def test_a_string_among_any_bytes(tmp_path, caplog, capfd, data, secret, kind):
    heads = {
        "dicom": b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0" + struct.pack("<I", len(data)) + b"\x02\0\x10\0UI\x14\0",
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "jpeg": b"\xff\xd8\xff\xe0",
        "tiff": b"II*\0\x08\0\0\0",
        "none": b"",
    }
    path = tmp_path / f"{secret}.bin"
    path.write_bytes(heads[kind] + data[:40] + secret.encode() + data[40:])
    assert secret.casefold() not in told(read(path), caplog, capfd)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    maker=st.sampled_from(["", "GE", "Philips", "Samsung", "Siemens", "Canon", "Hitachi", "Mindray", "Esaote"]),
    model=st.sampled_from(
        ["", "Voluson ", "LOGIQ ", "Vivid ", "EPIQ ", "HS", "UGEO ", "Acuson ", "Aplio ", "Xario ", "ProSound ",
         "Arietta ", "SSD-", "Resona ", "Nuewa ", "MyLab ", "MyLab", "Mach "]
    ),
    secret=st.text("bcdfghjklmnpqrtuvwyz", min_size=3, max_size=8),
    after=st.booleans(),
)  # fmt: skip
def test_what_stands_beside_a_machines_name_is_not_kept(maker, model, secret, after):
    words = f"{model}{secret}" if after else f"{secret} {model}"
    plain = machine_name(maker, model.strip())
    found = machine_name(f"{maker} {secret}", words)
    allowed = {None, "other"} | {plain, machine_name(f"{maker} {model}", "")}
    assert found in allowed or not any(secret[i : i + 3] in found for i in range(len(secret) - 2))


def test_overlay_planes_are_never_drawn_in(tmp_path):
    """A plane of its own, and the retired kind that lies in the bits above the pixels' own."""
    grey = PIXELS.astype(np.uint16) << 4
    plain, overlaid, above = dataset(grey, bits=12), dataset(grey, bits=12), dataset(grey, bits=12)
    bits = np.packbits(np.ones(grey.size, np.uint8), bitorder="little").tobytes()
    for ds, position in ((overlaid, 0), (above, 12)):
        for element, vr, value in (
            (0x10, "US", grey.shape[0]), (0x11, "US", grey.shape[1]), (0x40, "CS", "G"), (0x50, "SS", [1, 1]),
            (0x100, "US", 16 if position else 1), (0x102, "US", position),
        ):  # fmt: skip
            ds[0x6000, element] = DataElement(pydicom.tag.Tag(0x6000, element), vr, value)
    overlaid[0x6000, 0x3000] = DataElement(pydicom.tag.Tag(0x6000, 0x3000), "OW", bits + b"\0" * (len(bits) % 2))
    above.PixelData = (grey | (1 << 12)).astype("<u2").tobytes()
    rows = []
    for number, ds in enumerate((plain, overlaid, above)):
        add_region(ds, (5, 5, 150, 110))
        rows += [outcome.row for outcome in read(save(tmp_path / f"{number}.dcm", ds))]
    assert [row["image_id"] for row in rows] == [rows[0]["image_id"]] * 3
