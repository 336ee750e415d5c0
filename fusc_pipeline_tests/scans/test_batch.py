import io
import os
import re
import shutil
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import image_id, sha256_file
from fusc_pipeline.base.png import decode_png, encode_png
from fusc_pipeline.base.schemas import REJECTED_SCANS, SCANS
from fusc_pipeline.host.worker_pool import Lost
from fusc_pipeline.scans import batch
from fusc_pipeline.scans.batch import (
    Rejection,
    Report,
    Reused,
    ScanRow,
    iter_batch,
    known_files,
    list_files,
    validate_batch_key,
)
from fusc_pipeline.scans.files import file_key_of
from fusc_pipeline.scans.frames import REASONS, ReadLimits
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline_tests.scans.make import PATIENT_ID, PATIENT_NAME, add_region, as_rgb, dataset, save, sector

KEYS = KeyRing(b"0123456789abcdef0123456789abcdef")
SCAN, _ = sector(160, 200, r0=20, r1=140)


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def read(folder, **options):
    """(scans, rejected, reused) of a batch, both tables checked against their schemas."""
    found = list(iter_batch(folder, KEYS, **options))
    scans = pa.Table.from_pylist([o.row for o in found if isinstance(o, ScanRow)], schema=SCANS)
    rejected = pa.Table.from_pylist([o.row for o in found if isinstance(o, Rejection)], schema=REJECTED_SCANS)
    scans.validate(full=True)
    for outcome in found:
        if not isinstance(outcome, Reused):
            schema = SCANS if isinstance(outcome, ScanRow) else REJECTED_SCANS
            assert set(outcome.row) == set(schema.names)
            assert all(outcome.row[field.name] is not None for field in schema if not field.nullable)
    return scans, rejected, [o for o in found if isinstance(o, Reused)]


def names_of(folder):
    """file_key -> path of the files in a folder."""
    return {file_key_of(file, KEYS): file.relative for file in list_files(folder)}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    """A folder with four good frames and one of everything that goes wrong."""
    folder = tmp_path_factory.mktemp("delivery")
    scan = [sector(240, 320, r0=30, r1=210, seed=i)[0] for i in range(4)]
    png(folder / "Patient0007_a.png", scan[0])
    png(folder / "more" / "again.png", scan[0])
    ds = dataset(as_rgb(scan[1]))
    add_region(ds, (40, 5, 280, 215))
    save(folder / "IM0001", ds)
    ds = dataset(scan[2])
    ds.PatientID = "patient-0007"
    save(folder / "IM0002.dcm", ds)
    png(folder / "subject-12" / "x.png", scan[3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "Patient0007_a.png").read_bytes()[:3000])
    (folder / "letter.PDF").write_bytes(b"%PDF-1.4 dear Mrs CANARY")
    png(folder / "form.png", np.full((240, 320), 250, np.uint8))
    png(folder / "black.png", np.zeros((240, 320), np.uint8))
    (folder / "big.bin").write_bytes(bytes(400_000))
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "_SUCCESS").write_bytes(b"x")
    (folder / "DICOMDIR").write_bytes(b"x")
    (folder / "_later").mkdir()
    (folder / "_later" / "x.png").write_bytes(b"x")
    os.symlink("/etc/hostname", folder / "away.png")
    os.symlink("/etc", folder / "awayfolder")
    os.symlink(folder / "nowhere", folder / "dangling.png")
    os.mkfifo(folder / "pipe.png")
    return folder


LIMITS = ReadLimits(max_file_bytes=300_000)


def test_a_batch_with_everything_wrong_goes_on(delivered):
    scans, rejected, _ = read(delivered, limits=LIMITS)
    names = names_of(delivered)
    assert [names[key] for key in scans["file_key"].to_pylist()] == [
        "IM0001",
        "IM0002.dcm",
        "Patient0007_a.png",
        "subject-12/x.png",
    ]
    assert {names[row["file_key"]]: row["reason"] for row in rejected.to_pylist()} == {
        "more/again.png": "duplicate",
        "empty.png": "empty",
        "cut.png": "truncated",
        "letter.PDF": "not_an_image",
        "form.png": "no_scan",
        "black.png": "no_scan",
        "big.bin": "too_large",
        "away.png": "link",
        "awayfolder": "link",
        "dangling.png": "unreadable",
        "pipe.png": "not_a_file",
        ".hidden.png": "not_an_image",
        "DICOMDIR": "not_an_image",
        "_SUCCESS": "not_an_image",
        "_later/x.png": "not_an_image",
    }
    assert set(rejected["reason"].to_pylist()) <= set(REASONS)


def test_rows_say_what_the_file_is(delivered):
    rows = read(delivered, limits=LIMITS)[0].to_pylist()
    first, second, third, fourth = rows
    for row in rows:
        pixels = decode_png(row["png"])
        assert image_id(pixels) == row["image_id"]
        assert pixels.shape[:2] == (row["height"], row["width"])
        assert 0 <= row["region_x0"] < row["region_x1"] <= row["width"]
        assert 0 <= row["region_y0"] < row["region_y1"] <= row["height"]
    assert first["source_sha256"] == sha256_file(delivered / "IM0001")
    assert (first["region_source"], first["region_x0"], first["region_x1"]) == ("dicom", 40, 281)
    assert first["mm_per_px"] == pytest.approx(0.2)
    assert [row["region_source"] for row in rows[1:]] == ["picture"] * 3
    assert [row["subject_source"] for row in rows] == ["dicom", "dicom", "path", "path"]
    assert second["subject_key"] == third["subject_key"]
    assert len({row["subject_key"] for row in rows}) == 3
    assert first["study_key"] == second["study_key"] != first["subject_key"]
    assert third["study_key"] is None
    assert (first["source_format"], fourth["source_format"]) == ("dicom", "png")


def test_nothing_identifying_is_in_a_row(delivered):
    scans, rejected, _ = read(delivered, limits=LIMITS)
    text = repr(scans.drop_columns(["png"]).to_pylist()) + repr(rejected.to_pylist())
    for secret in (PATIENT_ID, PATIENT_NAME, "CANARY", "Patient0007", "letter", "subject-12", "more/", str(delivered)):
        assert secret not in text


def test_the_order_depends_on_names_only(delivered, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in reversed(list_files(delivered)):
        if file.refused is None:
            (copy / file.relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.path, copy / file.relative)
    first, second = read(delivered, limits=LIMITS)[0], read(copy, limits=LIMITS)[0]
    assert first.equals(second)


def test_workers_give_the_same_rows(delivered):
    parallel = read(delivered, limits=LIMITS, workers=2)
    serial = read(delivered, limits=LIMITS)
    assert parallel[0].equals(serial[0])
    assert parallel[1].equals(serial[1])


@pytest.mark.parametrize(
    "lost, reason",
    [
        ({"too_slow": True, "attempts": 1, "exit_code": -9}, "too_slow"),
        ({"too_slow": False, "attempts": 2, "exit_code": -11}, "reader_died"),
        ({"too_slow": False, "attempts": 2, "exit_code": 0, "error": MemoryError()}, "too_much_memory"),
        ({"too_slow": False, "attempts": 2, "exit_code": 0, "error": IndexError("CANARY")}, "reader_died"),
    ],
)
def test_a_file_no_reader_gives_back_is_refused(delivered, monkeypatch, lost, reason):
    """What becomes of a lost item; that one is lost and the others are not is tested with the workers themselves."""

    def loses_the_second(prepare, jobs, workers, **limits):
        assert limits["seconds"] >= 10
        for number, job in enumerate(jobs):
            yield Lost(job, **lost) if number == 1 else batch._scan_job(job)

    monkeypatch.setattr(batch, "guarded_map", loses_the_second)
    scans, rejected, _ = read(delivered, limits=LIMITS, workers=2)
    whole_scans, whole_rejected, _ = read(delivered, limits=LIMITS)
    assert scans.num_rows + rejected.num_rows >= whole_scans.num_rows + whole_rejected.num_rows - 1
    assert rejected["reason"].to_pylist().count(reason) == 1
    assert "CANARY" not in repr(rejected.to_pylist())


@pytest.mark.slow
def test_a_reader_that_stalls_is_ended(tmp_path):
    """A pattern that takes exponential time, on one name; the other file is read."""
    frames = [sector(160, 200, r0=20, r1=140, seed=i)[0] for i in range(2)]
    png(tmp_path / ("a" * 40 + "b.png"), frames[0])
    png(tmp_path / "c.png", frames[1])
    scans, rejected, _ = read(tmp_path, subject_pattern=r"(a+)+$", workers=2)
    assert (scans.num_rows, rejected["reason"].to_pylist()) == (1, ["too_slow"])


def test_a_second_reading_takes_over_what_is_known(delivered):
    scans, rejected, _ = read(delivered, limits=LIMITS)
    known = known_files(scans, rejected)
    again, refused, reused = read(delivered, limits=LIMITS, known=known)
    assert again.num_rows == 0
    assert refused.equals(rejected)
    assert [i for file in reused for i in file.image_ids] == scans["image_id"].to_pylist()


def test_a_grown_batch_is_what_a_fresh_one_would_be(tmp_path):
    frames = [sector(160, 200, r0=20, r1=140, seed=i)[0] for i in range(3)]
    png(tmp_path / "b.png", frames[0])
    png(tmp_path / "c.png", frames[1])
    scans, rejected, _ = read(tmp_path)
    png(tmp_path / "a.png", frames[1])  # before the file that is known to hold the same picture
    png(tmp_path / "d.png", frames[2])
    fresh_scans, fresh_rejected, _ = read(tmp_path)
    new, new_rejected, reused = read(tmp_path, known=known_files(scans, rejected))
    kept = {i for file in reused for i in file.image_ids}
    assert kept | set(new["image_id"].to_pylist()) == set(fresh_scans["image_id"].to_pylist())
    names = names_of(tmp_path)
    assert [names[k] for k in new["file_key"].to_pylist()] == ["a.png", "d.png"]
    assert [names[k] for k in new_rejected["file_key"].to_pylist()] == ["c.png"]
    assert fresh_rejected.equals(new_rejected)


def test_a_changed_file_is_read_again(tmp_path):
    path = png(tmp_path / "a.png", sector(160, 200, r0=20, r1=140, seed=0)[0])
    known = known_files(*read(tmp_path)[:2])
    png(path, sector(160, 200, r0=20, r1=140, seed=1)[0])
    scans, _, reused = read(tmp_path, known=known)
    assert scans.num_rows == 1
    assert not reused


def test_identical_frames_of_a_clip(tmp_path):
    frame = sector(160, 200, r0=20, r1=140)[0]
    save(tmp_path / "clip", dataset(np.stack([frame, frame, frame]), frames=3))
    scans, rejected, _ = read(tmp_path)
    assert scans.num_rows == 1
    assert rejected["frame_index"].to_pylist() == [1, 2]
    assert rejected["reason"].to_pylist() == ["duplicate", "duplicate"]
    assert not known_files(scans, rejected)


def test_a_subject_pattern_of_ones_own(tmp_path):
    frames = [sector(160, 200, r0=20, r1=140, seed=i)[0] for i in range(3)]
    for name, frame in zip(("m12x1.png", "m12x2.png", "m13x1.png"), frames, strict=True):
        png(tmp_path / name, frame)
    keys = read(tmp_path, subject_pattern=r"m(\d+)x")[0]["subject_key"].to_pylist()
    assert keys[0] == keys[1] != keys[2]
    without = read(tmp_path)[0]
    assert set(without["subject_source"].to_pylist()) == {"file"}
    assert len(set(without["subject_key"].to_pylist())) == 3
    with pytest.raises(BadSetting, match="subject_pattern"):
        read(tmp_path, subject_pattern="(")


def test_an_empty_or_missing_folder(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "_READY").write_text("x")
    with pytest.raises(BadInput, match="holds no scans"):
        read(tmp_path)


NAMES = ["a.dcm", ".b.dcm", "_c", "_READY", ".DS_Store", "DICOMDIR", "x/Thumbs.db", "__MACOSX/._a", ".d/e", "f.zip"]
CONTENTS = ["scan", "other scan", "note", "empty", "double", "directory", "zip"]


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(CONTENTS), min_size=1))
def test_taken_and_rejected_and_passed_over_are_what_was_delivered(tmp_path_factory, delivered):
    folder, report = tmp_path_factory.mktemp("sum"), Report()
    made = {}
    for name, shift in (("scan", 0), ("other scan", 3)):
        stream = io.BytesIO()
        Image.fromarray(np.roll(SCAN, shift, 1)).save(stream, "PNG")
        made[name] = stream.getvalue()
    made |= {"note": b"words", "empty": b"", "double": b"\0\5\x16\7\0\2"}
    made["directory"] = bytes(128) + b"DICM\2\0\2\0UI\x14\x001.2.840.10008.1.3.10\0"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("IM1", ".IM2", "_READY", "__MACOSX/._IM1", "DICOMDIR"):
            archive.writestr(name, made["scan"] if "IM" in name else made["directory"])
    made["zip"] = packed.getvalue()
    for name, content in delivered.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(made[content])
    there = sum(5 if content == "zip" and name not in LEFT else 1 for name, content in delivered.items())
    try:
        found = list(iter_batch(folder, KEYS, report=report))
    except BadInput:
        assert len(report.passed_over) in (0, there)  # nothing but markers
        return
    files = {outcome.row["file_key"] for outcome in found}
    assert len(files) + len(report.passed_over) == there == report.delivered + len(report.passed_over)


LEFT = {"_READY", ".DS_Store", "x/Thumbs.db", "__MACOSX/._a"}


@pytest.mark.parametrize("blanked", ["", "Anonymous", "0", "XXXX", "removed"])
def test_a_study_is_one_subject_where_the_patient_was_blanked(tmp_path, blanked):
    for number, study in enumerate(["1.2.3.4.1", "1.2.3.4.1", "1.2.3.4.2", "", "one", "one"]):
        ds = dataset(np.roll(SCAN, 2 * number, 1))
        ds.PatientID, ds.StudyInstanceUID = blanked, study
        save(tmp_path / f"subject-{number % 2}_{number}.dcm", ds)
    rows = sorted(read(tmp_path)[0].to_pylist(), key=lambda row: row["image_id"])
    names = names_of(tmp_path)
    rows = {int(names[row["file_key"]][-5]): row for row in rows}
    assert [rows[n]["subject_source"] for n in range(6)] == ["study"] * 3 + ["path"] * 3  # "one" is no UID
    keys = [rows[n]["subject_key"] for n in range(6)]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3] == keys[5] != keys[4]
    assert rows[0]["subject_key"] != rows[0]["study_key"]


def test_one_patient_in_two_character_sets_is_one_subject(tmp_path):
    for number, charset in enumerate(["ISO_IR 100", "ISO_IR 192", "ISO_IR 148"]):
        ds = dataset(np.roll(SCAN, 2 * number, 1))
        ds.SpecificCharacterSet, ds.PatientID = charset, "MÜL-77"
        save(tmp_path / f"{number}.dcm", ds)
    assert len({row["subject_key"] for row in read(tmp_path)[0].to_pylist()}) == 1


def test_suffixes_cannot_carry_a_name(tmp_path):
    for name in ("a.PNG", "b.mary-quite-contrary", "c.CANARYLONGER", "d", "mary.smith"):
        (tmp_path / name).write_bytes(b"x")
    assert read(tmp_path)[1]["suffix"].to_pylist() == [".png", "", "", "", ""]


@pytest.mark.parametrize("key", ["2024-01", "a", "A.b_c-9", "x" * 64])
def test_good_batch_keys(key):
    assert validate_batch_key(key) == key


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "-x", "a..b", "x" * 65, "a b", "a\n", "ä", "_x"])
def test_bad_batch_keys(key):
    with pytest.raises(BadInput, match="batch key"):
        validate_batch_key(key)


@given(st.text(max_size=70))
def test_a_batch_key_stays_in_its_folder(key):
    try:
        validate_batch_key(key)
    except BadInput:
        return
    assert os.path.normpath(os.path.join("/inbox", key)) == f"/inbox/{key}"
    assert re.fullmatch("[A-Za-z0-9._-]+", key)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (5, 7, 3), (3, 1, 3), (300, 400, 3)])
def test_png_is_lossless(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decode_png(encode_png(pixels)), pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)
    with pytest.raises(ValueError, match="no grey or RGB picture"):
        encode_png(pixels.astype(np.uint16))
    with pytest.raises(BadInput):
        decode_png(b"not a png")
