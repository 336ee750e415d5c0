"""A trainer that is killed continues where it was, and ends with the same weights as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

from fusc_pipeline.store.store import Store

TRAIN = """
import sys
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config
config = run_config(simclr_encoder={"epochs": 6, "batch_size": 8, "image_size": 32})
bad = failures(materialise(Store(sys.argv[1]), "simclr_encoder", config))
sys.exit(str(bad) if bad else 0)
"""


def train(store: Store, **how) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FUSC_CHECKPOINT_SECONDS": "0"}
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(store.root)], env=environment, **how)


def wait_for_checkpoint(store: Store, trainer: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not list((store.root / "work" / "simclr_encoder").rglob("checkpoint.pt")):
        assert trainer.poll() is None, "the trainer ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.02)


def test_an_interrupt_ends_the_run_instead_of_retrying_it(small_store):
    from fusc_pipeline_tests.defs.graph import failures, materialise

    assert failures(materialise(small_store, "corpus")) == {}
    trainer = train(small_store, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_checkpoint(small_store, trainer)
    trainer.send_signal(signal.SIGINT)
    _, told = trainer.communicate(timeout=25)  # the retry policy would have waited 30 s
    assert trainer.returncode == 1 and "stopped by a signal; run again" in told
    assert small_store.record("simclr_encoder") is None


@pytest.mark.slow  # the sweep's random moments show it as well, by `fusc run`
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_encoder_run_ends_with_the_same_weights(small_store, tmp_path):
    from fusc_pipeline_tests.defs.graph import failures, materialise

    assert failures(materialise(small_store, "corpus")) == {}
    untouched = Store(tmp_path / "untouched")
    shutil.copytree(small_store.root, untouched.root)

    victim = train(small_store)
    wait_for_checkpoint(small_store, victim)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert small_store.record("simclr_encoder") is None  # nothing half-made is visible

    assert train(small_store).wait(300) == 0
    assert train(untouched).wait(300) == 0
    resumed = load_file(small_store.folder("simclr_encoder") / "weights.safetensors")
    straight = load_file(untouched.folder("simclr_encoder") / "weights.safetensors")
    assert resumed.keys() == straight.keys()
    assert all((resumed[name] == straight[name]).all() for name in straight)
    history = json.loads((small_store.folder("simclr_encoder") / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
