"""Checkpoints: whole or absent, ours or refused."""

import logging

import pytest
import torch

from fusc_pipeline.checkpoints import Checkpoint
from fusc_pipeline.errors import BadInput


def test_a_saved_payload_comes_back_and_no_temporary_file_stays(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "run.pt", "d1")
    assert checkpoint.load() is None
    checkpoint.save({"weights": torch.arange(3), "history": [{"loss": 1.5}]})
    checkpoint.save({"weights": torch.arange(4), "history": []})
    assert torch.equal(checkpoint.load()["weights"], torch.arange(4))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run.pt"]


@pytest.mark.parametrize("kept_share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_restarts_with_a_logged_reason(tmp_path, caplog, kept_share):
    checkpoint = Checkpoint(tmp_path / "run.pt", "d1")
    checkpoint.save({"weights": torch.randn(1000, generator=torch.Generator().manual_seed(0))})
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: int(len(whole) * kept_share)])
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load() is None
    assert "run.pt" in caplog.text and "starts again" in caplog.text


def test_another_runs_checkpoint_is_refused_and_kept(tmp_path):
    Checkpoint(tmp_path / "run.pt", "d1").save({"done": 1})
    with pytest.raises(BadInput, match=r"run\.pt belongs to a run with other settings"):
        Checkpoint(tmp_path / "run.pt", "d2").load()
    assert Checkpoint(tmp_path / "run.pt", "d1").load() == {"done": 1}


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"a letter, not a checkpoint")
    with pytest.raises(BadInput, match="not a checkpoint of this program"):
        Checkpoint(path, "d1").load()
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(BadInput, match="not a checkpoint of this program"):
        Checkpoint(path, "d1").load()
    torch.save(Checkpoint, path)  # a pickled object, which weights_only refuses to build
    with pytest.raises(BadInput, match="not a checkpoint of this program"):
        Checkpoint(path, "d1").load()


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "run.pt", "d1")
    checkpoint.save({"done": 1})

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save({"done": 2})
    assert checkpoint.load() == {"done": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
