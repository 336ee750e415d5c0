"""The delivered batch: files, their bytes, and the truth beside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import sha256_file
from fusc_pipeline.phantom import PhantomConfig, render_frame, truth_path, write_batch
from fusc_pipeline.phantom.deliver import TRUTH
from fusc_pipeline.phantom.dicom_files import ENCODINGS, PALETTE, Facts, write_dicom
from fusc_pipeline.phantom.render import subject_of

CONFIG = PhantomConfig(n_frames=18, n_subjects=3, seed=6, cine_share=0.4)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "clinic-a"
    assert write_batch(folder, CONFIG) == truth_path(folder)
    return folder


@pytest.fixture(scope="module")
def truth(batch: Path) -> pd.DataFrame:
    return pd.read_parquet(truth_path(batch))


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_truth_names_every_frame_and_lies_beside_the_folder(batch: Path, truth: pd.DataFrame) -> None:
    assert truth_path(batch).parent == batch.parent
    assert list(truth.columns) == TRUTH.names
    assert sorted(truth["index"]) == list(range(18))
    assert contents(batch) == dict(zip(truth["file"], truth["source_sha256"], strict=True))
    assert (truth["label_readable"] == truth["label_view"].notna()).all()
    assert (truth["file"].str.split("/").str[0] == truth["subject"]).all()


def test_one_seed_gives_the_same_bytes_on_any_number_of_processes(batch: Path, tmp_path: Path) -> None:
    write_batch(tmp_path / "again", CONFIG, n_jobs=2)
    assert contents(tmp_path / "again") == contents(batch)


def test_every_file_decodes_to_the_frames_screen(batch: Path, truth: pd.DataFrame) -> None:
    for row in truth.itertuples():
        path, expected = batch / row.file, render_frame(CONFIG, row.index)
        if path.suffix == ".png":
            assert np.array_equal(np.asarray(Image.open(path)), expected.screen)
            continue
        ds = pydicom.dcmread(path)
        assert ds.PatientID == row.subject == path.parent.name
        pixels = ds.pixel_array[row.frame_index] if "NumberOfFrames" in ds else ds.pixel_array
        if ds.PhotometricInterpretation == "RGB" and ds.file_meta.TransferSyntaxUID.is_compressed is False:
            assert np.array_equal(pixels, expected.screen)
        region = ds.get("SequenceOfUltrasoundRegions")
        if region:
            rows, columns = np.flatnonzero(expected.fan.any(1)), np.flatnonzero(expected.fan.any(0))
            assert region[0].RegionLocationMinX0 <= columns[0] <= columns[-1] <= region[0].RegionLocationMaxX1
            assert region[0].RegionLocationMinY0 <= rows[0] <= rows[-1] <= region[0].RegionLocationMaxY1
            assert region[0].PhysicalDeltaX == pytest.approx(expected.cm_per_px)


def test_both_kinds_and_cines_are_delivered(batch: Path, truth: pd.DataFrame) -> None:
    assert {Path(file).suffix for file in truth["file"]} == {".dcm", ".png"}
    assert truth["frame_index"].max() >= 2
    assert truth.groupby("subject")["file"].agg(lambda files: len({Path(f).suffix for f in files})).max() == 1


@pytest.mark.parametrize("encoding", [encoding for encoding, _ in ENCODINGS])
@pytest.mark.parametrize("n", [1, 2])
def test_each_encoding_reads_back(encoding, n: int, tmp_path: Path) -> None:
    frames = np.stack([render_frame(CONFIG, k).screen for k in range(n)])
    study = subject_of(CONFIG, 0).study
    box = (3, 60, 780, 590)
    facts = Facts("p1", study.patient_name, study.moment, "GE", "E8", 1, "t/1/1", box, 0.02, 30.0)
    write_dicom(str(tmp_path / "x.dcm"), frames, encoding, facts)
    ds = pydicom.dcmread(tmp_path / "x.dcm")
    assert (ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation) == (encoding.syntax, encoding.photometric)
    assert int(ds.get("NumberOfFrames", 1)) == n
    pixels = ds.pixel_array.reshape(n, *frames.shape[1:3], -1)
    if encoding == PALETTE:
        pixels = pydicom.pixels.apply_color_lut(pixels[..., 0], ds) >> 8
    expected = frames
    if encoding.photometric == "MONOCHROME2":
        expected = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])[..., None]
    error = np.abs(pixels.astype(int) - expected)
    lossless = encoding.photometric in ("RGB", "MONOCHROME2")
    assert error.max() == 0 if lossless else error.mean() < 4


def test_a_folder_that_holds_something_is_refused(batch: Path) -> None:
    with pytest.raises(BadInput, match="clinic-a"):
        write_batch(batch, CONFIG)
