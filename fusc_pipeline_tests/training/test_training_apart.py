"""An encoder trained by two ranks that the asset starts: through Dagster's pipes, stopped with the step, resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

from fusc_pipeline.host.processes import command_of, start_ticks
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config

SETTINGS = {"epochs": 4, "batch_size": 8, "image_size": 32, "processes": 2, "monitor_every": 2}
TRAIN = f"""
import sys
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config
bad = failures(materialise(Store(sys.argv[1]), "simclr_encoder", run_config(simclr_encoder={SETTINGS!r})))
sys.exit(str(bad) if bad else 0)
"""


def trained(store: Store) -> tuple[dict, list]:
    folder = store.folder("simclr_encoder")
    return load_file(folder / "weights.safetensors"), json.loads((folder / "history.json").read_text())


@pytest.mark.slow
def test_two_ranks_train_the_asset_and_report_live(small_store, monkeypatch):
    from fusc_pipeline.defs.engine import progress

    monkeypatch.setattr(progress, "OBSERVE_EVERY_S", 0.0)
    assert failures(materialise(small_store, "corpus")) == {}
    config = run_config(simclr_encoder=SETTINGS | {"epochs": 2})
    result = materialise(small_store, "simclr_encoder", config)
    assert failures(result) == {}
    weights, history = trained(small_store)
    assert weights["conv1.weight"].shape == (64, 1, 7, 7)
    assert [entry["epoch"] for entry in history] == [1, 2] and "knn_accuracy" in history[1]
    observed = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert [int(seen.metadata["train/epoch"].value) for seen in observed] == [1, 2]
    assert not list((small_store.root / "work" / "simclr_encoder").rglob("checkpoint.pt"))
    # How many train it decides nothing, so what two made is there for one.
    alone = materialise(
        small_store, "simclr_encoder", run_config(simclr_encoder=SETTINGS | {"epochs": 2, "processes": 1})
    )
    events = alone.get_asset_materialization_events()
    assert events[0].step_materialization_data.materialization.metadata["fusc/cache"].value == "hit"


def test_a_batch_that_does_not_divide_is_refused_before_any_trainer_starts(small_store):
    assert failures(materialise(small_store, "corpus")) == {}
    odd = run_config(simclr_encoder=SETTINGS | {"batch_size": 7})
    told = failures(materialise(small_store, "simclr_encoder", odd))["simclr_encoder"]
    assert "a batch of 7 images does not divide among 2 processes" in told


def trainers(store: Store) -> list[int]:
    """Processes that train for this store: the agent and its ranks."""
    mine = str(store.root)
    found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    lines = {pid: command_of(pid) for pid in found}
    kinds = ("fusc_pipeline.training.agent", "fusc_pipeline.representation.train_rank")
    return [pid for pid, line in lines.items() if mine in line and any(kind in line for kind in kinds)]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc"), reason="needs /proc")
def test_sigkill_leaves_no_trainer_and_the_next_run_ends_with_the_same_weights(small_store, tmp_path):
    def start(store: Store) -> subprocess.Popen:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "FUSC_CHECKPOINT_SECONDS": "0"}
        return subprocess.Popen([sys.executable, "-c", TRAIN, str(store.root)], env=environment)

    assert failures(materialise(small_store, "corpus")) == {}
    untouched = Store(tmp_path / "untouched")
    shutil.copytree(small_store.root, untouched.root)
    victim = start(small_store)
    deadline = time.monotonic() + 120
    while not list((small_store.root / "work" / "simclr_encoder").rglob("checkpoint.pt")):
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running = trainers(small_store)
    assert len(running) == 3  # the agent and two ranks
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    deadline = time.monotonic() + 20
    while any(start_ticks(pid) for pid in running):
        assert time.monotonic() < deadline, "a trainer outlived its step"
        time.sleep(0.05)
    assert trainers(small_store) == [] and small_store.record("simclr_encoder") is None

    assert start(small_store).wait(300) == 0
    assert start(untouched).wait(300) == 0
    (resumed, history), (straight, _) = trained(small_store), trained(untouched)
    assert resumed.keys() == straight.keys()
    assert all((resumed[name] == straight[name]).all() for name in straight)
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
