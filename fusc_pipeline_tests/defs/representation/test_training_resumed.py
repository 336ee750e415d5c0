"""What an encoder's asset does with the checkpoint that a stopped run left."""

import json
import logging

from fusc_pipeline.defs.engine.progress import Progress
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config


def test_after_a_damaged_checkpoint_the_training_starts_again_with_a_warning(small_store, monkeypatch, caplog):
    monkeypatch.setenv("FUSC_CHECKPOINT_SECONDS", "0")
    assert failures(materialise(small_store, "corpus")) == {}
    config = run_config(simclr_encoder={"epochs": 2, "batch_size": 16, "image_size": 32})
    began = []

    def stop(self, metrics):
        began.append(metrics["epoch"])
        if len(began) == 1:
            raise ValueError("stopped by the test")

    monkeypatch.setattr(Progress, "__call__", stop)
    assert "stopped by the test" in failures(materialise(small_store, "simclr_encoder", config))["simclr_encoder"]
    (checkpoint,) = (small_store.root / "work" / "simclr_encoder").rglob("checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with caplog.at_level(logging.WARNING, "fusc_pipeline.training.checkpoint"):
        assert failures(materialise(small_store, "simclr_encoder", config)) == {}
    assert began[1:] == [1, 2]
    warned = [record.message for record in caplog.records if "training starts again" in record.message]
    assert len(warned) == 1
    history = json.loads((small_store.folder("simclr_encoder") / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2]
