"""A bundle: sealed by hashes, opened as it was written, installed whole; damage is refused in words."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.schemas import CANDIDATE_MODEL
from fusc_pipeline.service.bundle import Bundle, BundleFacts, Part, install, seal, write_arrays, write_part
from fusc_pipeline.service.history_text import models_text
from fusc_pipeline.service.outliers import Calibration


def make(folder, version: str = "v1") -> Bundle:
    folder.mkdir()
    row = {"scan_batch": "b", "subject_key": "s", "split": "test", "cluster": 0, "confidence": 0.5}
    pq.write_table(pa.Table.from_pylist([{**row, "image_id": "i"}], schema=CANDIDATE_MODEL), folder / "table.parquet")
    write_arrays(folder, np.ones((1, 3), np.float32), Calibration.of(np.ones((4, 2)), np.arange(4)))
    weights = folder.parent / "weights"
    weights.write_bytes(b"w")
    write_part(folder, "fusc_simclr", {"k4-seed0.safetensors": weights})
    parts = {"fusc_simclr": Part({"n_clusters": [4]}, "d")}
    facts = BundleFacts(version, "fusc_simclr", "simclr", 4, 0, parts, {"train": 9, "test": 1}, {"nmi": None}, {}, 1.5)
    return seal(folder, facts)


def test_what_was_written_is_read(tmp_path):
    found = Bundle.open(make(tmp_path / "a").root)
    found.check()
    assert found.facts.version == "v1" and found.require("fusc_simclr").config == {"n_clusters": [4]}
    assert found.vectors().tolist() == [[1, 1, 1]] and found.calibration().confidences.tolist() == [0, 1, 2, 3]
    assert found.table(["cluster"]).num_rows == 1
    assert (found.folder("fusc_simclr") / "k4-seed0.safetensors").read_bytes() == b"w"
    with pytest.raises(BadInput, match="holds nothing of dino_encoder; it holds fusc_simclr"):
        found.folder("dino_encoder")


@pytest.mark.parametrize("name", ["table.parquet", "vectors.safetensors", "parts/fusc_simclr/k4-seed0.safetensors"])
def test_a_damaged_or_missing_file_is_named(tmp_path, name):
    found = make(tmp_path / "a")
    (found.root / name).write_bytes(b"x")
    with pytest.raises(BadInput, match=f"model 7: {name} in .* is missing or damaged; put another in service"):
        found.check(name="model 7")
    (found.root / name).unlink()
    with pytest.raises(BadInput, match="missing or damaged"):
        found.check()


@pytest.mark.parametrize("content", [None, "", "{}", '{"parts": {}}', "[1]"])
def test_facts_that_are_none_are_refused(tmp_path, content):
    found = make(tmp_path / "a")
    (found.root / "bundle.json").unlink()
    if content is not None:
        (found.root / "bundle.json").write_text(content)
    with pytest.raises(BadInput, match="model 3 .* is missing or damaged"):
        Bundle.open(found.root, "model 3")


def test_installing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    source, target = make(tmp_path / "a"), tmp_path / "models" / "1"
    assert install(source, target).facts == source.facts
    assert install(source, target).facts == source.facts
    (target / "table.parquet").unlink()  # damage is replaced
    install(source, target).check()
    other = make(tmp_path / "b", "v2")
    assert install(other, target).facts.version == "v2"
    (other.root / "table.parquet").write_bytes(b"x")
    with pytest.raises(BadInput, match="table.parquet"):
        install(other, tmp_path / "models" / "2")
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["1"]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fusc_pipeline.host.atomic.os.link", full)
    install(source, tmp_path / "models" / "3").check()  # no hard links: copies
    monkeypatch.setattr("fusc_pipeline.host.atomic.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        install(source, tmp_path / "models" / "4")
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["1", "3"]


def test_models_are_told_with_what_was_decided(tmp_path):
    assert models_text([], tmp_path) == "no model is in service yet; make one: fusc run"
    import datetime

    install(make(tmp_path / "a"), tmp_path / "1")
    row = {"at": datetime.datetime(2026, 1, 2, 3, 4), "action": "promoted", "number": 1, "in_service": 1, "why": "w"}
    told = models_text([row, {**row, "action": "rolled_back", "number": 2, "in_service": 2}], tmp_path)
    assert "* model 2: its files are missing or damaged" in told and "2026-01-02 03:04 rolled back: w" in told
    assert "  model 1: fusc_simclr, K 4, seed 0, 9 training images; on its 1 test images: no labels" in told
